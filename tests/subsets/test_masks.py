"""Masks of the user's own: read in bounded memory, kept in the store, trained on as they are."""

import copy
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_store
from orchestrator import LocalRunner, plan_campaign, run_campaign
from orchestrator.campaigns.preflight import resolve_tables
from orchestrator.runners.ray.job_package import MASKS_FILE, with_sent_tables
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.campaign.mask_table import MaskTable
from workers.campaign.yaml_io import dump_campaign
from workers.common.arrays import Bools
from workers.datasets import load_dataset
from workers.datasets.mask_file import read_masks
from workers.errors import CampaignError, DamagedFileError, StoreMismatchError
from workers.subsets.draw import draw_subset, subset_size
from workers.subsets.masks import mean_ratio, pack_masks

N = 1437
"""Training examples of the digits."""


def drawn_masks(count: int = 6, *, seed: int = 0, size: int | None = None) -> Bools:
    """Each example with probability 1/2, or so many of them."""
    random = np.random.default_rng(seed)
    if size is None:
        return random.random((count, N)) < 0.5
    return np.argsort(random.random((count, N)), axis=1) < size


def masked(file: Path, **changes: Any) -> Campaign:
    recipe = changes.pop("recipe", {"epochs": 1, "batch_size": 256})
    subsets = {"design": "masks", "masks": {"file": str(file)}, "repetitions": 4, "seed": 5}
    return small_campaign(recipe=recipe, subsets={**subsets, **changes})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masks") / "masks.npz"
    np.savez_compressed(path, masks=drawn_masks())
    return path


@pytest.fixture(scope="module")
def trained(file: Path) -> Path:
    """A store of the first four masks' runs."""
    store = file.parent / "store"
    run_campaign(masked(file), store, runner="local")
    return store


@given(
    rows=st.lists(
        st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=31, unique_by=tuple
    ),
    cuts=st.lists(st.integers(0, 30), max_size=3).map(sorted),
)
def test_packed_masks_are_the_masks(rows: list[list[bool]], cuts: list[int]) -> None:
    masks = np.array(rows)
    packed = pack_masks(np.split(masks, cuts))
    assert packed.count == len(masks)
    assert all((packed.mask(k) == row).all() for k, row in enumerate(masks))
    assert packed.sizes().tolist() == masks.sum(axis=1).tolist()
    assert packed.sha256() == pack_masks([masks]).sha256()
    if np.ptp(masks.sum(axis=1)) == 0:
        assert subset_size(round(mean_ratio(packed) * PPM), 5) == masks[0].sum()


@pytest.mark.parametrize("kind", ["npz", "list", "fixed", "numbers"])
def test_masks_are_read_from_npz_and_parquet(kind: str, tmp_path: Path) -> None:
    masks, path = drawn_masks(11), tmp_path / "masks"
    if kind == "npz":
        with path.open("wb") as opened:
            np.savez(opened, masks=masks.astype(np.int64))
    else:
        flat = pa.array(masks.ravel().astype(np.uint8)) if kind == "numbers" else pa.array(masks.ravel())
        ends = np.arange(len(masks) + 1, dtype=np.int32) * N
        column = pa.FixedSizeListArray.from_arrays(flat, N) if kind == "fixed" else pa.ListArray.from_arrays(ends, flat)
        pq.write_table(pa.table({"masks": column}), path, row_group_size=4)
    assert read_masks(MaskTable(file=str(path)), N).sha256() == pack_masks([masks]).sha256()


def claims(rows: int, content: bytes = b"") -> Callable[[Path], None]:
    """A file whose header claims so many rows."""

    def write(path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_2_0(header, {"descr": "|b1", "fortran_order": False, "shape": (rows, N)})
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("masks.npy", header.getvalue() + content)

    return write


def holds(masks: Any, name: str = "masks") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as opened:
            np.savez(opened, **{name: masks})

    return write


FULL = drawn_masks()
HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "10^12 rows": (claims(10**12), "must have 1 to 747,210 masks of 1,437 examples, got 1,000,000,000,000"),
    "rows that are not there": (claims(700_000, bytes(N)), "is not a whole .npz file: ends before its last row"),
    "other N": (holds(FULL[:, 1:]), "must have 1,437 columns, got 1,436"),
    "other values": (holds(FULL * 2), "must be true and false, or 1 and 0, got 2"),
    "NaN": (holds(np.where(FULL, np.nan, 0.0)), "must be true and false, or 1 and 0, got nan"),
    "objects": (holds(np.array([[None]])), "must hold numbers or truth values, got object"),
    "one dimension": (holds(FULL[0]), r"must have two dimensions, got shape \[1437\]"),
    "Fortran order": (holds(np.asfortranarray(FULL)), "must be in C order"),
    "no mask": (holds(FULL[:0]), "must have 1 to 747,210 masks of 1,437 examples, got 0"),
    "an empty mask": (holds(np.vstack([FULL, np.zeros((1, N), bool)])), "mask 6 must have an example, and is empty"),
    "a mask twice": (holds(np.vstack([FULL, FULL[2:3]])), "mask 6 must differ from mask 2, and is equal"),
    "another array": (holds(FULL, "subsets"), "masks: is missing, only subsets is there"),
    "another kind": (lambda path: path.write_text("masks"), "must be a .npz or Parquet file, and is neither"),  # type: ignore[dict-item]
    "a column of numbers": (
        lambda path: pq.write_table(pa.table({"masks": [1, 2]}), path),
        "must hold lists of numbers or truth values, got int64",
    ),
    "lists of other lengths": (
        lambda path: pq.write_table(pa.table({"masks": [[True] * (N - 1), [True] * (N + 1)]}), path),
        "must have 1,437 values in each row",
    ),
    "a missing value": (
        lambda path: pq.write_table(pa.table({"masks": [[None] + [True] * (N - 1)]}), path),
        "must have 1,437 values in each row",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_files_that_are_no_masks_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    write, message = HOSTILE[what]
    write(tmp_path / "f")
    with pytest.raises(CampaignError, match=rf"^subsets.masks.(file|column): [^\n]*{message}[^\n]*$"):
        read_masks(MaskTable(file=str(tmp_path / "f")), N)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": None}, "the design masks needs masks, got none"),
        ({"design": "uniform", "ratios": [0.5]}, "masks must be left out, or the design be masks, got uniform"),
        ({"ratios": [0.5, 0.6]}, "ratios must be left out beside masks"),
        ({"masks": {"file": "f", "sha256": "abc"}}, "64 digits"),
    ],
)
def test_campaigns_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        masked(Path("f"), **changes)


def test_the_ratio_is_the_mean_size_and_runs_are_at_most_the_masks(file: Path) -> None:
    dataset = load_dataset(small_campaign().dataset)
    campaign, _ = resolve_tables(masked(file, repetitions=12, replicates=2), dataset)
    assert campaign.subsets.ratios[0] == pytest.approx(drawn_masks().mean(), abs=1e-3)
    with pytest.raises(CampaignError, match=r"^subsets.repetitions: must be at most 6, a run each of 6 masks, got 7$"):
        resolve_tables(masked(file, repetitions=7), dataset)
    with pytest.raises(CampaignError, match=r"at most 12, 2 runs of each of 6 masks, got 13$"):
        resolve_tables(masked(file, repetitions=13, replicates=2), dataset)
    with pytest.raises(CampaignError, match=r"^subsets.ratios: must be left out, or 0\.\d+, the masks' mean size, got"):
        resolve_tables(masked(file, ratios=[0.9]), dataset)


def test_masks_of_several_sizes_train_one_at_a_time_unless_minibatches_are_equal(file: Path, tmp_path: Path) -> None:
    machine = LocalRunner().machine()
    execution = plan_campaign(masked(file), machine).execution_plan
    assert (execution.stack_size, execution.unstackable_reason) == (
        1,
        "the masks have different sizes (recipe.drop_last makes minibatches equal)",
    )
    dropping = {"epochs": 1, "batch_size": 256, "drop_last": True}
    assert plan_campaign(masked(file, recipe=dropping), machine).execution_plan.stack_size == 4
    np.savez(tmp_path / "equal.npz", masks=drawn_masks(size=500))
    assert plan_campaign(masked(tmp_path / "equal.npz"), machine).execution_plan.stack_size == 4


def test_runs_train_on_the_masks_which_the_store_keeps(file: Path, trained: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    shutil.copytree(trained, store)
    moved = tmp_path / "moved.npz"
    shutil.copy(file, moved)
    (store / "examples.parquet").unlink()
    report = run_campaign(masked(moved), store, repetitions=6, runner="local")
    assert report.progress.trained == 2
    assert any("was written anew" in note for note in report.notes)
    view = open_store(store)
    assert (view.subsets().to_numpy() == drawn_masks()).all()
    assert view.memorization()["n_in"].tolist() == drawn_masks().sum(axis=0).tolist()
    kept = view.store.masks()
    assert kept is not None
    assert (draw_subset(masked(file), Run(500_000, 3), N, kept) == drawn_masks()[3]).all()
    with pytest.raises(CampaignError, match="at most 6, a run each of 6 masks, got 7"):
        run_campaign(masked(file), store, repetitions=7, runner="local")
    assert verify_store(str(store))[1] == []


def test_other_masks_belong_to_another_store(trained: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", masks=drawn_masks(seed=1))
    with pytest.raises(
        StoreMismatchError, match=r"^[^\n]*: subsets.masks.sha256: the store has '\w{64}', the campaign"
    ):
        run_campaign(masked(tmp_path / "other.npz"), trained, runner="local")


def test_damaged_masks_are_found(trained: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    shutil.copytree(trained, store)
    path = store / "examples.parquet"
    sound = pd.read_parquet(path)
    for example, byte in ((3, 1), (N, 1)):
        table = pq.read_table(path)
        masks = [list(each) for each in sound["masks"]]
        masks[example][0] ^= byte
        column = pa.array(masks, pa.list_(pa.uint8()))
        position = table.column_names.index("masks")
        pq.write_table(table.set_column(position, "masks", column), path, write_page_checksum=True)
        _, problems = verify_store(str(store))
        assert "column masks: does not contain the campaign's masks" in str(problems)


def test_a_campaign_file_with_masks_is_run_by_the_command(file: Path, tmp_path: Path) -> None:
    campaign = masked(file, recipe={"epochs": 1, "batch_size": 256, "drop_last": True})
    (tmp_path / "c.yaml").write_text(dump_campaign(campaign))
    code, _, error = call("run", tmp_path / "c.yaml", "--store", tmp_path / "s", "--runner", "local")
    assert code == 0, error
    assert (open_store(tmp_path / "s").subsets().to_numpy() == drawn_masks()[:4]).all()


def test_masks_are_sent_along_with_a_job(file: Path, tmp_path: Path) -> None:
    campaign, sent = with_sent_tables(masked(file))
    assert sent == {MASKS_FILE: file}
    assert campaign.subsets.masks is not None
    assert campaign.subsets.masks.file == MASKS_FILE
    with pytest.raises(CampaignError, match=r"^subsets.masks.file: must be a file of this machine"):
        with_sent_tables(masked(tmp_path / "gone.npz"))


def test_a_header_that_claims_other_masks_is_refused(trained: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    shutil.copytree(trained, store)
    path = store / "campaign.json"
    sound = json.loads(path.read_text())
    for name in ("count", "largest"):
        document = copy.deepcopy(sound)
        document["campaign"]["subsets"]["masks"][name] = None
        path.write_text(json.dumps(document))
        with pytest.raises(DamagedFileError, match=r"^[^\n]*subsets.masks are of no possible number[^\n]*$"):
            open_store(store)
    # As many bytes as 6 masks have, and more than are there.
    for count, problem in ((5, "does not contain the campaign's masks"), (1_000_000, "values, expected")):
        sound["campaign"]["subsets"]["masks"]["count"] = count
        path.write_text(json.dumps(sound))
        with pytest.raises(DamagedFileError, match=f"column masks: [^\\n]*{problem}"):
            open_store(store).store.masks()

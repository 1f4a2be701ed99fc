"""Published runs become a store like any other; files that are not what they should be are named."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import EstimateError, open_store, write_estimates
from orchestrator import run_campaign
from orchestrator.store_ops.import_runs import SHARD_SIZE, import_heldout
from orchestrator.store_ops.status import campaign_status
from orchestrator.store_ops.verify import missing_imports, missing_runs, verify_store
from tests.command import call
from tests.conftest import small_campaign
from tests.stores import new_store
from tests.synthetic import Labelled, Runs, make_stores, random_runs
from workers.errors import DataError, StoreMismatchError
from workers.store import Store

NUM_TRAIN, NUM_TEST = 20, 7
LABEL = np.arange(NUM_TRAIN) % 3
TEST_LABEL = np.arange(NUM_TEST) % 3

Arrays = dict[str, Any]


def exact_runs(random: np.random.Generator, num_runs: int, ratio: float) -> Runs:
    """Random runs whose subsets have the size that the ratio says."""
    runs = random_runs(random, num_runs, NUM_TRAIN, NUM_TEST)
    order = random.permuted(np.tile(np.arange(NUM_TRAIN), (num_runs, 1)), axis=1)
    return Runs(order < round(ratio * NUM_TRAIN), runs.train, runs.test)


def published(runs: Runs, k: int, random: np.random.Generator) -> Arrays:
    """Run k as published: each split in an order of its own."""
    inside, outside = (random.permutation(np.flatnonzero(mask)) for mask in (runs.subsets[k], ~runs.subsets[k]))
    tests = random.permutation(NUM_TEST)
    return {
        "index_train": inside,
        "index_removed": outside,
        "index_test": tests.astype(np.int32),
        "correctness_train": runs.train[k][inside],
        "correctness_removed": runs.train[k][outside].astype(np.float32),
        "correctness_test": runs.test[k][tests],
        "subsample_idx": random.permutation(inside),
    }


def save(folder: Path, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "aux_arrays.npz", **arrays)


@pytest.fixture
def runs() -> dict[float, Runs]:
    random = np.random.default_rng(1)
    return {0.3: exact_runs(random, 5, 0.3), 0.7: exact_runs(random, SHARD_SIZE + 3, 0.7)}


@pytest.fixture
def experiment(tmp_path: Path, runs: dict[float, Runs]) -> Path:
    """A published experiment."""
    random = np.random.default_rng(2)
    for ratio, run in runs.items():
        for k in range(len(run.subsets)):
            save(tmp_path / "cifar10-tiny" / str(ratio) / str(k), published(run, k, random))
    (tmp_path / "cifar10-tiny" / ".cache").mkdir()
    return tmp_path / "cifar10-tiny"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The labels of its data set."""
    np.savez(tmp_path / "labels.npz", train=LABEL, test=TEST_LABEL.astype(np.uint8))
    return tmp_path / "labels.npz"


def change(experiment: Path, **arrays: Any) -> Path:
    """Replace arrays of one run (None: leave out); returns its file."""
    path = experiment / "0.7" / "3" / "aux_arrays.npz"
    with np.load(path) as before:
        after = {**before, **arrays}
    np.savez(path, **{name: array for name, array in after.items() if array is not None})
    return path


@pytest.mark.slow
def test_imported_runs_give_the_estimates_of_the_same_runs_trained_here(
    experiment: Path, labels: Path, runs: dict[float, Runs], tmp_path: Path
) -> None:
    import_heldout(experiment, tmp_path / "s", labels)
    here = make_stores(tmp_path / "here", runs, Labelled(LABEL.tolist(), None, TEST_LABEL.tolist()))
    write_estimates(here)
    write_estimates(Store.open(tmp_path / "s"))
    tables = sorted((tmp_path / "here" / "estimates").iterdir())
    assert len(tables) == 6
    for table in tables:
        ours = pd.read_parquet(tmp_path / "s" / "estimates" / table.name)
        pd.testing.assert_frame_equal(ours, pd.read_parquet(table))
    assert open_store(tmp_path / "s").subsets(ratio=0.7).to_numpy().tolist() == runs[0.7].subsets.tolist()


def test_an_imported_store_is_whole(experiment: Path, labels: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = import_heldout(experiment, tmp_path / "s", labels, lambda done, total: seen.append((done, total)))
    assert (report.experiment, report.runs, report.before) == ("cifar10-tiny", 40, 0)
    assert seen == [(0, 40), (5, 40), (37, 40), (40, 40)]
    assert verify_store(str(tmp_path / "s")) == (6, [])
    state = campaign_status(str(tmp_path / "s"))
    assert (state.dataset, state.committed, state.requested) == ("cifar10-tiny", 40, 40)
    table = open_store(tmp_path / "s").runs()
    assert set(table["device"]) == {"imported"}
    assert table["seconds"].isna().all()
    assert table["train_loss"].isna().all()
    assert table["is_final"].all()
    with pytest.raises(EstimateError, match="has no campaign, its runs were imported"):
        _ = open_store(tmp_path / "s").campaign


@pytest.mark.slow
def test_importing_again_reads_only_what_is_new(experiment: Path, labels: Path, tmp_path: Path) -> None:
    later = [experiment / "0.7" / name for name in ("1", "34")]
    for folder in later:
        folder.rename(tmp_path / f"later-{folder.name}")
    assert import_heldout(experiment, tmp_path / "s", labels).runs == 38
    for folder in later:
        (tmp_path / f"later-{folder.name}").rename(folder)
    (experiment / "0.3" / "0" / "aux_arrays.npz").write_text("never opened again")
    report = import_heldout(experiment, tmp_path / "s", labels)
    assert (report.runs, report.before) == (40, 38)
    assert import_heldout(experiment, tmp_path / "s", labels).before == 40
    assert len(open_store(tmp_path / "s").subsets(ratio=0.7)) == SHARD_SIZE + 3
    assert (missing_runs(str(tmp_path / "s")), missing_imports(str(tmp_path / "s"))) == ({}, {})
    assert verify_store(str(tmp_path / "s"))[1] == []


@pytest.mark.slow
def test_an_import_wants_what_it_imported(experiment: Path, labels: Path, tmp_path: Path) -> None:
    """Not the runs that stand in the gaps between folders: nothing can train those."""
    for name in ("1", "7"):
        shutil.rmtree(experiment / "0.7" / name)
    store = str(tmp_path / "s")
    import_heldout(experiment, store, labels)
    state = campaign_status(store)
    assert (state.committed, state.requested, missing_runs(store), missing_imports(store)) == (38, 38, {}, {})
    next((tmp_path / "s" / "results").glob("r300000*")).write_bytes(b"PAR1")
    assert campaign_status(store).finished, "nothing is left to wait for"
    verify_store(store, repair=True)
    assert missing_imports(store) == {300_000: 5}
    import_heldout(experiment, store, labels)
    assert missing_imports(store) == {}


WRONG: list[tuple[Arrays, str]] = [
    ({"index_test": None}, "index_test: is missing"),
    ({"correctness_train": np.ones((7, 2))}, r"correctness_train: must have one dimension, got shape \[7, 2\]"),
    ({"correctness_train": np.ones(13)}, "correctness_train: must have a value for each of 14 ids, got 13"),
    ({"correctness_removed": np.full(6, 0.5)}, "correctness_removed: must be 0 or 1, got 0.5"),
    ({"correctness_test": np.full(7, np.nan)}, "correctness_test: must be 0 or 1, got nan"),
    ({"correctness_test": np.array(["yes"] * 7)}, "correctness_test: must hold numbers or truth values, got <U3"),
    ({"index_test": np.array([None] * 7)}, "index_test: must hold numbers or truth values, got object"),
    ({"index_test": np.arange(7) + 1}, "index_test: must be ids from 0 to 6, got 7"),
    ({"index_test": np.arange(7) - 1}, "index_test: must be ids from 0 to 6, got -1"),
    ({"index_test": np.full(7, 2**64 - 1, np.uint64)}, "index_test: must be ids from 0 to 6, got 18446744073709551615"),
    ({"index_test": np.arange(7.0)}, "index_test: must be integers, got float64"),
    ({"index_test": np.zeros(7, int)}, "index_test: must hold each of 7 examples once, got example 0 7 times"),
    ({"index_removed": np.zeros(6, int)}, "index_train and index_removed: must hold each of 20 examples once, got"),
    ({"index_test": np.arange(8)}, "index_test: must have at most 7 values, got 8"),
    ({"subsample_idx": np.arange(14)}, "subsample_idx: must hold the ids of index_train, got others"),
    ({"subsample_idx": np.arange(20) + 1}, "subsample_idx: must be ids from 0 to 19, got 20"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arrays", "message"), WRONG)
def test_a_wrong_array_is_named_and_the_rest_resumes(
    arrays: Arrays, message: str, experiment: Path, labels: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(experiment / "0.7" / "3", whole)
    path = change(experiment, **arrays)
    with pytest.raises(DataError, match=rf"^{path}: {message}"):
        import_heldout(experiment, tmp_path / "s", labels)
    assert len(open_store(tmp_path / "s").runs()) == 5  # those of the shard before
    shutil.copy(whole / path.name, path)
    assert import_heldout(experiment, tmp_path / "s", labels).before == 5
    assert verify_store(str(tmp_path / "s"))[1] == []


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(b"NUMPY") + 130
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)


def promise_too_much(path: Path) -> None:
    """An array of a terabyte that takes no room: its header alone."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|b1", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("correctness_train.npy", header.getvalue())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "is not a whole .npz file: "),
        (flip_bytes, "is not a whole .npz file: "),
        (promise_too_much, "correctness_train: must have at most 20 values, got 1099511627776"),
        (lambda path: path.write_text("<html>404</html>"), "is not a whole .npz file: File is not a zip file"),
        (lambda path: path.write_bytes(b""), "is not a whole .npz file: File is not a zip file"),
        (lambda path: path.unlink(), "No such file or directory"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(
    damage: Callable[[Path], object], message: str, experiment: Path, labels: Path, tmp_path: Path
) -> None:
    path = experiment / "0.3" / "0" / "aux_arrays.npz"
    damage(path)
    with pytest.raises(DataError, match=rf"^{path}: (\w+: )?{message}"):
        import_heldout(experiment, tmp_path / "s", labels)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("big/0", "big: must be named after a ratio, such as 0.7"),
        ("1.5/0", "1.5: must be named after a ratio"),
        ("nan/0", "nan: must be named after a ratio"),
        ("0.7/x", "0.7/x: must be named after the run's number"),
        ("0.7/1000000", "0.7/1000000: must be named after the run's number"),
        ("0.7/03", "0.7/3: is the same run as .*/0.7/03"),
        ("0.70/3", "0.70/3: is the same run as .*/0.7/3"),
        ("0.9/0", "0.9/0/aux_arrays.npz: No such file"),
    ],
)
def test_folders_that_are_no_run(made: str, message: str, experiment: Path, labels: Path, tmp_path: Path) -> None:
    (experiment / made).mkdir(parents=True)
    with pytest.raises(DataError, match=message):
        import_heldout(experiment, tmp_path / "s", labels)


def test_a_place_without_runs(experiment: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "0.7").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty: holds no run, expected <ratio>/<run>/aux_arrays.npz"):
        import_heldout(tmp_path / "empty", tmp_path / "s", labels)
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        import_heldout(tmp_path / "nowhere", tmp_path / "s", labels)
    with pytest.raises(
        DataError, match="cifar10-tiny: must be named after a ratio, .*; give the experiment's own folder"
    ):
        import_heldout(experiment.parent, tmp_path / "s", labels)
    assert not (tmp_path / "s").exists()


def test_a_run_in_the_folder_of_another_ratio(experiment: Path, labels: Path, tmp_path: Path) -> None:
    shutil.move(experiment / "0.3" / "4", experiment / "0.7" / "99")
    with pytest.raises(DataError, match=r"0.7/99/aux_arrays.npz: index_train: must hold 0.7 of 20 examples, got 6"):
        import_heldout(experiment, tmp_path / "s", labels)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": LABEL}, "labels.npz: test: is missing"),
        ({"train": LABEL.astype(float), "test": TEST_LABEL}, "labels.npz: train: must be integers, got float64"),
        ({"train": LABEL - 1, "test": TEST_LABEL}, "labels.npz: train: must be classes from 0 to 999999, got -1"),
        ({"train": LABEL, "test": TEST_LABEL + 10**9}, "labels.npz: test: must be classes .*, got 1000000000"),
        ({"train": LABEL[:0], "test": TEST_LABEL}, "labels.npz: train: must have at least one label"),
        ({"train": LABEL[:19], "test": TEST_LABEL}, "0.3/0/aux_arrays.npz: index_.*: must be ids from 0 to 18, got 19"),
        ({"train": np.append(LABEL, 0), "test": TEST_LABEL}, "0.3/0/aux_arrays.npz: .* got example 20 0 times"),
        ({"train": LABEL, "test": np.append(TEST_LABEL, 0)}, "0.3/0/aux_arrays.npz: index_test: .* example 7 0 times"),
    ],
)
def test_labels_that_are_not_those_of_the_runs(
    arrays: Arrays, message: str, experiment: Path, labels: Path, tmp_path: Path
) -> None:
    np.savez(labels, **arrays)
    with pytest.raises(DataError, match=message):
        import_heldout(experiment, tmp_path / "s", labels)
    assert not (tmp_path / "s").exists()


def test_a_store_takes_one_import_and_no_campaign(experiment: Path, labels: Path, tmp_path: Path) -> None:
    import_heldout(experiment, tmp_path / "s", labels)
    with pytest.raises(StoreMismatchError, match="holds imported runs, and cannot take a campaign's runs"):
        run_campaign(small_campaign(), tmp_path / "s")
    with pytest.raises(StoreMismatchError, match="holds a campaign's runs, and cannot take imported runs"):
        import_heldout(experiment, new_store(tmp_path / "trained").uri, labels)
    experiment.rename(tmp_path / "cifar10-other")
    message = "imported.experiment: the store has 'cifar10-tiny', the import has 'cifar10-other'"
    with pytest.raises(StoreMismatchError, match=message):
        import_heldout(tmp_path / "cifar10-other", tmp_path / "s", labels)
    (tmp_path / "cifar10-other").rename(experiment)
    np.savez(labels, train=LABEL[::-1], test=TEST_LABEL)
    with pytest.raises(StoreMismatchError, match="the store was created from a different data set"):
        import_heldout(experiment, tmp_path / "s", labels)


@pytest.mark.slow
def test_on_the_command_line(experiment: Path, labels: Path, tmp_path: Path) -> None:
    words = ("import", "heldout", experiment, "--store", tmp_path / "s", "--labels", labels)
    code, output, _ = call(*words)
    assert (code, output.splitlines()[0]) == (0, f"40 runs of cifar10-tiny in {tmp_path}/s (40 imported now)")
    assert call("estimate", tmp_path / "s")[0] == 0
    (experiment / "0.7" / "99").mkdir()
    code, output, error = call(*words)
    assert (code, output) == (2, "")
    assert error == f"error: {experiment}/0.7/99/aux_arrays.npz: No such file or directory\n"

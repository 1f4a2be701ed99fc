"""Typical and atypical examples, told apart by a score, in place of clean and noisy ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.scoring.example_scores import read_example_scores
from analysis.scoring.suspects import chosen_score, rank_suspects
from analysis.view import StoreView
from orchestrator import run_campaign
from orchestrator.campaigns.plan import plan_campaign
from orchestrator.runners.local import LocalRunner
from orchestrator.runners.ray.job_package import SCORES_FILES, with_sent_tables
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.datasets import load_dataset
from workers.errors import CampaignError, DamagedFileError, StoreMismatchError
from workers.store import Store
from workers.subsets.draw import given_labels

N = 1437
"""Training examples of digits."""
NEURONS = {"examples": 4, "most": 3, "evaluated": 20}


def campaign(split: dict[str, object] | None = None, **changes: object) -> Campaign:
    """One measured run of a small network on digits, a tenth of whose labels are noisy."""
    probes = {"gradients": True, "rewinding": {"every": 1}, "retraining": {"epochs": 1}, "neurons": NEURONS}
    document: dict[str, object] = {
        "model": {"name": "mlp", "hidden": [8]},
        "recipe": {"epochs": 2, "batch_size": 128},
        "label_noise": {"fraction": 0.1},
        "subsets": {"ratios": [0.5], "repetitions": 1, "seed": 5},
        "record": {"probes": probes if split is None else {**probes, "split": split}},
    }
    return small_campaign(**{**document, **changes})


def is_noisy() -> np.ndarray:
    """bool[N]: the labels that `campaign` replaces."""
    labels = np.array(load_dataset(campaign().dataset).train_labels)
    return given_labels(campaign(), labels, 10) != labels


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores under 0.5 of the noisy examples alone, in the layout of published C-scores."""
    path = tmp_path_factory.mktemp("scores") / "cscores.npz"
    spread = np.random.default_rng(0).uniform(0, 0.49, N)
    np.savez(path, scores=np.where(is_noisy(), spread, 0.5 + spread).astype(np.float32), labels=np.zeros(N, np.int64))
    return path


@pytest.fixture(scope="module")
def split_store(tmp_path_factory: pytest.TempPathFactory, scores: Path) -> Path:
    folder = tmp_path_factory.mktemp("split") / "s"
    run_campaign(campaign({"scores": {"file": str(scores), "column": "scores"}, "below": 0.5}), str(folder))
    return folder


def measured(store: Path) -> tuple[Store, dict[str, bytes]]:
    """The only run's values by column."""
    opened = Store.open(str(store))
    names = [column.name for column in opened.header.probe_columns]
    ((shard, table),) = opened.scan(names)
    return opened, {name: opened.vectors(shard, table, name).tobytes() for name in names}


def test_a_split_of_the_noisy_examples_measures_what_noise_does(split_store: Path, tmp_path: Path) -> None:
    """Bit for bit, under the names of the groups that were compared."""
    run_campaign(campaign(), str(tmp_path / "noise"))
    (ours, split), (theirs, noise) = measured(split_store), measured(tmp_path / "noise")
    assert split == noise
    np.testing.assert_array_equal(ours.split(), is_noisy())
    assert theirs.split() is None
    frames = [
        StoreView(store).probe(name) for name in ("gradients", "rewinding", "neurons") for store in (theirs, ours)
    ]
    renamed = {"clean": "typical", "noisy": "atypical"}
    for before, after in zip(frames[::2], frames[1::2], strict=True):
        columns = {name: name.replace("clean", "typical").replace("noisy", "atypical") for name in before.columns}
        expected = before.rename(columns=columns).replace({"group": renamed}).replace({"run_id": before["run_id"][0]})
        pd.testing.assert_frame_equal(after.drop(columns="run_id"), expected.drop(columns="run_id"))


@pytest.mark.slow
def test_what_is_shown_names_the_groups(split_store: Path, tmp_path: Path) -> None:
    code, output, error = call("localize", split_store, "-o", tmp_path / "t.csv", "--plot", tmp_path / "t.svg")
    assert code == 0, error
    for text in (
        "gradients of typical and atypical examples",
        "accuracy on atypical examples with one layer rewound",
        "trained anew on typical examples alone",
        "as a detector of atypical examples: AUC",
    ):
        assert text in output
    everything = output + "".join(path.read_text() for path in tmp_path.glob("t*"))
    assert "noisy" not in everything
    assert "clean" not in everything


def test_the_scores_are_those_of_the_campaign(split_store: Path, scores: Path, tmp_path: Path) -> None:
    """On resume, from another file, and in a store that is damaged."""
    split = {"scores": {"file": str(scores), "column": "scores"}, "below": 0.5}
    moved = tmp_path / "own.parquet"
    values = np.load(scores)["scores"].astype(float)
    pd.DataFrame({"example_id": np.arange(N)[::-1], "mem": values[::-1]}).to_parquet(moved)
    own = {"scores": {"file": str(moved), "column": "mem"}, "below": 0.5}
    assert run_campaign(campaign(own), str(split_store)).progress.trained == 0
    machine = LocalRunner().machine()
    for changed, field in (({**own, "below": 0.4}, "below"), ({"scores": own["scores"], "above": 0.5}, "above")):
        with pytest.raises(StoreMismatchError, match=rf"record\.probes\.split\.{field}: the store has"):
            plan_campaign(campaign(changed), machine, str(split_store))
    pd.DataFrame({"mem": values + 0.001}).to_parquet(moved)
    with pytest.raises(StoreMismatchError, match=r"record\.probes\.split\.scores\.sha256: the store has '\w{64}'"):
        run_campaign(campaign(own), str(split_store))
    given = Store.open(str(split_store)).header.score_columns["split_score"].sha256
    fixed = {"scores": {"file": str(moved), "column": "mem", "sha256": given}, "below": 0.5}
    with pytest.raises(CampaignError, match=r"^record\.probes\.split\.scores\.sha256: .*has other scores"):
        run_campaign(campaign(fixed), str(tmp_path / "t"))
    sent, files = with_sent_tables(campaign(split).with_absolute_paths())
    assert sent.split is not None
    name = SCORES_FILES["record.probes.split.scores"]
    assert (sent.split.scores.file, files) == (name, {name: scores})
    sound = (split_store / "examples.parquet").read_bytes()
    table = pq.read_table(split_store / "examples.parquet")
    place = table.column_names.index("split_score")
    other = pa.array([0.7, *table["split_score"].to_pylist()[1:]])
    pq.write_table(
        table.set_column(place, "split_score", other), split_store / "examples.parquet", write_page_checksum=True
    )
    problem = "column split_score: does not contain the campaign's scores"
    assert [finding.problem for finding in verify_store(str(split_store))[1]] == [problem]
    with pytest.raises(DamagedFileError, match=problem):
        Store.open(str(split_store)).split()
    (split_store / "examples.parquet").write_bytes(sound)


def test_units_are_a_score_that_finds_noisy_labels(split_store: Path) -> None:
    """Listed by noise, over the examples sampled, censored ones last; suspects are not ranked by it."""
    view = StoreView(Store.open(str(split_store)))
    sampled = view.probe("neurons")
    row = view.noise().set_index("score").loc["units"]
    needed = np.where(sampled["censored"], NEURONS["most"] + 1, sampled["units"])
    noisy = is_noisy()[sampled["example_id"]]
    pairs = [(a < b) + (a == b) / 2 for a in needed[noisy] for b in needed[~noisy]]
    assert (row["examples"], row["left_out"], row["noisy"]) == (4, N - 4, 2)
    assert row["auc"] == pytest.approx(np.mean(pairs))
    assert row["low"] <= row["auc"] <= row["high"]
    found = read_example_scores(view.store)
    assert chosen_score(found).name != "units"
    first = rank_suspects(found, "units")["example_id"][0]
    assert needed[sampled["example_id"] == first] == needed.min()


MISTAKES = [
    ({}, {}, r"record\.probes\.split: must have one of below and above.*none"),
    ({"below": 0.5, "above": 0.5}, {}, r"record\.probes\.split: must have one of below and above.*both"),
    ({"below": 0.0}, {}, r"record\.probes\.split\.below: leaves no atypical example: 0 of 1,437 scores are below 0,"),
    ({"below": 1.5}, {}, r"record\.probes\.split\.below: leaves no typical example: 1,437 of 1,437"),
    ({"above": float("nan")}, {}, r"record\.probes\.split\.above"),
    (
        {"below": 0.5, "scores": {"file": "FILE", "column": "few"}},
        {},
        r"split\.scores\.file: .*1437 training examples, g",
    ),
    ({"below": 0.5, "scores": {"file": "FILE", "column": "c"}}, {}, r"split\.scores\.column: .*c"),
    (None, {"label_noise": {"fraction": 0.0}}, r"record\.probes: compares .* or compare typical with atypical"),
    (None, {"label_noise": {"fraction": 0.0001}}, r"label_noise: leaves no noisy example for record\.probes"),
    (None, {"label_noise": {"fraction": 1.0}}, r"label_noise: leaves no clean example for record\.probes"),
]


@pytest.mark.parametrize(("split", "changes", "reason"), MISTAKES)
def test_groups_that_cannot_be_compared_are_refused(
    split: dict[str, object] | None, changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "scores.npz", few=np.zeros(N - 1), scores=np.linspace(0, 1, N))
    scored = None
    if split is not None:
        named = dict(split.get("scores", {"file": "FILE", "column": "scores"}))  # type: ignore[call-overload]
        scored = {**split, "scores": {**named, "file": str(tmp_path / "scores.npz")}}
    with pytest.raises(CampaignError, match=reason) as caught:
        run_campaign(campaign(scored, **changes), str(tmp_path / "s"))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "s").exists()

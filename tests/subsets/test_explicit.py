"""Explicit subsets: which examples are dropped, and what the store keeps of the scores."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_store
from orchestrator import run_campaign
from orchestrator.campaigns.plan import plan_campaign
from orchestrator.campaigns.preflight import resolve_tables
from orchestrator.runners.local import LocalRunner
from orchestrator.runners.ray.job_package import CAMPAIGN_FILE, SCORES_FILES, driver_folder, with_sent_tables
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.conftest import small_campaign
from tests.explicit_subsets import N, by_threshold, explicit, explicit_store
from tests.stores import header
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.campaign.score_column import UNNAMED
from workers.campaign.yaml_io import check_campaign, dump_campaign, parse_campaign, read_campaign
from workers.datasets import load_dataset
from workers.errors import CampaignError, DamagedFileError, StoreMismatchError
from workers.store import Store
from workers.subsets.draw import draw_subset, subset_size
from workers.subsets.explicit import (
    ScoredExamples,
    class_sizes,
    explicit_subset,
)

SCORES_FILE = SCORES_FILES["subsets.scores"]


def counts_like_forgetting(seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).poisson(0.7, N).astype(float)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Scores of digits with many ties, the rows in disorder."""
    frame = pd.DataFrame({"example_id": np.arange(N), "score": counts_like_forgetting()})
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


# Which examples ----------------------------------------------------------------------------------------------------

rules = st.sampled_from(["lowest", "highest", "random"]) | st.integers(0, 999).map(lambda i: {"window": i / 1000})


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 1000), rules, st.integers(0, 9), st.booleans()
)
def test_who_is_dropped(values: list[int], thousandths: int, rule: object, seed: int, per_class: bool) -> None:
    ratio_ppm = thousandths * PPM // 1000
    window = rule["window"] if isinstance(rule, dict) else 0.0
    if window * 1000 > thousandths or ratio_ppm * len(values) < PPM:
        return
    campaign = explicit(ratios=[ratio_ppm / PPM], drop=[rule], per_class=per_class)
    scored = ScoredExamples({UNNAMED: np.array(values, float)}, np.arange(len(values)) % 3)
    run = Run(ratio_ppm, seed)
    kept = draw_subset(campaign, run, len(values), scored)
    assert kept.sum() == subset_size(ratio_ppm, len(values))
    assert (kept == draw_subset(campaign, run, len(values), scored)).all()
    groups = [scored.given_labels == label for label in range(3)] if per_class else [np.full(len(values), True)]
    for group in groups:
        share = kept[group].sum() - thousandths * group.sum() / 1000
        assert abs(share) < (2 if per_class else 1)
        # Ties stand in any order, but the scores that go are those at the rule's places of the sorted order.
        ordered, lost = sorted(scored.scores[UNNAMED][group]), int((~kept[group]).sum())
        first = {"lowest": 0, "highest": len(ordered) - lost}.get(str(rule), int(window * 1000 * len(ordered) // 1000))
        if rule != "random":
            first = min(first, len(ordered) - lost)
            assert sorted(scored.scores[UNNAMED][group & ~kept]) == ordered[first : first + lost]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.data())
def test_classes_keep_their_shares(counts: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, sum(counts)))
    kept = class_sizes(np.array(counts), size)
    assert kept.sum() == size
    assert all(size * c // sum(counts) <= k <= -(-size * c // sum(counts)) for k, c in zip(kept, counts, strict=True))


def test_ties_are_broken_anew_in_every_run_and_equally_for_all() -> None:
    scored = ScoredExamples({UNNAMED: np.repeat([0.0, 1.0], [40, 10])}, np.zeros(50, np.int64))
    campaign = explicit(ratios=[0.6], repetitions=1000, drop=["lowest"])
    kept = np.sum([draw_subset(campaign, Run(600_000, k), 50, scored) for k in range(1000)], axis=0)
    assert (kept[40:] == 1000).all()
    # 20 of 40 stay: binomial(1000, 1/2) counts, standard deviation 15.8.
    assert abs(kept[:40] - 500).max() < 5 * 15.8
    random = explicit_subset(np.random.default_rng(3), "random", size=30, examples=scored, per_class=False)
    again = ScoredExamples({UNNAMED: -scored.scores[UNNAMED]}, scored.given_labels)
    assert (
        random == explicit_subset(np.random.default_rng(3), "random", size=30, examples=again, per_class=False)
    ).all()


def test_rules_take_turns() -> None:
    campaign = explicit(drop=["lowest", {"window": 0.25}, "highest"])
    assert [str(rule) for rule in campaign.subsets.rules(800_000)] == ["lowest", "window 0.25", "highest"]
    scored = ScoredExamples({UNNAMED: np.arange(100.0)}, np.zeros(100, np.int64))
    dropped = [np.flatnonzero(~draw_subset(campaign, Run(800_000, k), 100, scored)) for k in range(3)]
    assert [each.tolist() for each in dropped] == [[*range(20)], [*range(25, 45)], [*range(80, 100)]]
    with pytest.raises(ValueError, match="needs the scores of 99 examples"):
        draw_subset(campaign, Run(800_000, 0), 99, scored)


# What a campaign file says -----------------------------------------------------------------------------------------

ONE = {"file": "f", "column": "c"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"drop": ["lowes"]}, "subsets.drop.0: must be lowest, highest, random, {window: QUANTILE} .*, got 'lowes'"),
        ({"drop": [{"window": 1}]}, r"subsets.drop.0: must be lowest, .*, got {'window': 1"),
        ({"drop": ["lowest", {"window": 0.31}]}, "subsets: drop: a window .* smallest ratio, 0.3, .*, got 0.31"),
        (
            {"drop": [{"at_least": ".5"}]},
            "subsets.drop.0: must be lowest, .* {at_least: SCORE} or {at_most: SCORE}; of .*, got",
        ),
        ({"drop": [{"at_least": 0.5}]}, "subsets: ratios must be left out .* got 0.8, 0.3"),
        (
            {"drop": [{"at_least": 0.5}], "ratios": [], "per_class": True},
            "subsets: per_class must be left out beside at",
        ),
        (
            {"drop": [{"at_most": 0.5}, {"window": 0.0}], "ratios": []},
            "subsets: drop: a window must be in a campaign wi",
        ),
        (
            {"drop": [{"at_most": 0.0}, {"at_most": -0.0}], "ratios": []},
            "subsets: drop must be rules that are all different, got at most 0, at most 0",
        ),
        ({"drop": ["lowest"], "ratios": []}, "subsets: ratios must be at least one, got none"),
        ({"drop": ["random", "random"]}, "subsets: drop must be rules that are all different, got random, random"),
        ({"drop": []}, "subsets: the design explicit needs drop, got none"),
        ({"drop": [], "scores": None}, "subsets: the design explicit needs scores and drop, got none"),
        ({"scores": {"file": "f"}}, "subsets.scores.column: is required"),
        ({"scores": ONE | {"sha256": "A" * 64}}, "subsets.scores.sha256: must be 64 digits of 0-9 and a-f, got 'AAA"),
        ({"scores": ONE | {"row": 1}}, r"subsets.scores.row: unknown field \(.*\), got 1"),
        ({"design": "uniform"}, "subsets: scores and drop must be left out, or the design be explicit, got uniform"),
        (
            {"design": "balanced", "scores": None, "drop": [], "per_class": True},
            "subsets: per_class must be left out, or the design be explicit, got balanced",
        ),
    ],
)
def test_mistakes_are_told_in_a_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(CampaignError, match=f"^campaign: {line}") as caught:
        explicit(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_the_identity_covers_scores_and_rules_and_not_where_they_lie(tmp_path: Path) -> None:
    def identity(campaign: Campaign, sha256: str = "a" * 64) -> str:
        return campaign.with_score_column("subsets.scores", sha256=sha256).identity("data")

    base = explicit()
    elsewhere = explicit(scores={"file": "/other", "column": "x", "ratio": 0.5}, ratios=[0.5], repetitions=9)
    assert identity(base) == identity(elsewhere) == identity(parse_campaign(dump_campaign(base)))
    others = [explicit(drop=["random", "lowest"]), explicit(drop=["lowest", {"window": 0.1}]), explicit(per_class=True)]
    assert len({identity(base), identity(base, "b" * 64), *map(identity, others)}) == 5
    # Stores would be orphaned: identities never change.
    assert identity(others[1]) == "b56dfe02c5a5526d92eecb7e74c27700f41454d1229955d66d09aec3c4836a3d"
    threshold = by_threshold({"at_least": 0.25}, {"at_most": 0.0}, "random")
    assert identity(threshold) == identity(threshold.with_ratios((0.9, 0.8)))
    assert identity(threshold) == "33be7316602d7f9ba83f7f48f399416144bcbc62bef382d322f83e8610f5e2d2"
    absolute = base.with_absolute_paths().subsets.columns[UNNAMED]
    assert absolute.file == str(Path("scores.parquet").absolute())
    # What is no run of the campaign, such as a recipe search, trains on uniform subsets and needs no scores.
    uniform = small_campaign(subsets={"ratios": [0.8, 0.3], "repetitions": 4})
    assert base.without_scores() == uniform


# A store -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_a_table_to_a_removal_curve(tmp_path: Path, table: Path) -> None:
    """By the command line: run, extend, curve; what is refused, and why."""
    file, store = tmp_path / "c.yaml", tmp_path / "s"
    file.write_text(dump_campaign(explicit("scores.parquet")))
    code, output, error = call("run", file, "--store", store, cwd=tmp_path)
    assert (code, f"next: longtail removal {store}" in output) == (0, True), error
    code, output, error = call("run", file, "--store", store, "--repetitions", 6, cwd=tmp_path)
    assert "12 of 12 runs" in output, error
    code, output, error = call("removal", store, "--plot", tmp_path / "curve.pdf")
    assert (code, "removal.parquet" in output, "curve.pdf" in output) == (0, True, True), error
    assert (tmp_path / "curve.pdf").read_bytes().startswith(b"%PDF")
    written = pd.read_parquet(store / "estimates" / "removal.parquet")
    pd.testing.assert_frame_equal(open_store(store).removal(), written)
    assert written[["rule", "removed", "runs"]].to_numpy().tolist() == [
        [rule, removed, 3] for rule in ("lowest", "random") for removed in (0.2, 0.7)
    ]
    runs = open_store(store).runs()
    by_rule = runs.groupby([runs["repetition"] % 2, -runs["ratio"]])["test_accuracy"]
    assert written["test_accuracy"].tolist() == pytest.approx(by_rule.mean().tolist())
    code, output, error = call("estimate", store)
    assert (code, "its subsets are explicit, not random; what it has is a removal curve" in error) == (2, True)


@pytest.mark.slow
def test_runs_train_on_what_the_rules_keep_and_the_store_keeps_the_scores(tmp_path: Path, table: Path) -> None:
    campaign = explicit(table, per_class=True)
    run_campaign(campaign, tmp_path / "s")
    table.rename(tmp_path / "moved.parquet")
    moved = campaign.with_score_column("subsets.scores", file=str(tmp_path / "moved.parquet"))
    assert run_campaign(moved, tmp_path / "s", repetitions=5).progress.trained == 2
    view = open_store(tmp_path / "s")
    examples, scores = view.examples("train"), counts_like_forgetting()
    assert (examples["score"] == scores).all()
    assert view.examples("test")["score"].isna().all()
    scored = ScoredExamples({UNNAMED: scores}, examples["given_label"].to_numpy())
    for ratio in (800_000, 300_000):
        subsets = view.subsets(ratio=ratio / PPM)
        for repetition, trained in enumerate(subsets.to_numpy()):
            assert (trained == draw_subset(campaign, Run(ratio, repetition), N, scored)).all()
    assert plan_campaign(moved, LocalRunner().machine(), str(tmp_path / "s")).pending_runs == 0


@pytest.mark.slow
def test_other_scores_belong_to_another_store(tmp_path: Path, table: Path) -> None:
    run_campaign(explicit(table, repetitions=1), tmp_path / "s")
    changed = counts_like_forgetting()
    changed[17] += 1
    pd.DataFrame({"score": changed}).to_parquet(table)
    with pytest.raises(StoreMismatchError, match=r"^[^\n]*: subsets.scores.sha256: the store has '\w{64}', the camp"):
        run_campaign(explicit(table, repetitions=1), tmp_path / "s")
    with pytest.raises(StoreMismatchError, match=r"subsets.scores.sha256"):
        plan_campaign(explicit(table), LocalRunner().machine(), str(tmp_path / "s"))
    with pytest.raises(StoreMismatchError, match=r"subsets.drop: the store has \['lowest', 'random'\], the campaign"):
        run_campaign(explicit(table, drop=["highest"]), tmp_path / "s")
    with pytest.raises(CampaignError, match=r"^subsets.scores.file: .*gone: there is no such file"):
        run_campaign(explicit(tmp_path / "gone"), tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_damaged_column_of_scores_is_found(tmp_path: Path) -> None:
    store = explicit_store(tmp_path / "s")
    assert verify_store(store.uri) == (1, [])
    path = Path(store.uri, "examples.parquet")
    sound = pq.read_table(path)
    scores = sound["score"].to_pylist()
    wrong = "column score: does not contain the campaign's scores"
    other = {
        "value": ([*scores[:3], 7.5, *scores[4:]], wrong),
        "null": ([None, *scores[1:]], wrong),
        "of a test": ([*scores[:-1], 1.0], wrong),
        "none": (None, "has unexpected columns"),
        "texts": ([str(score) for score in scores], "has unexpected columns"),
    }
    for values, problem in other.values():
        table = sound.drop_columns("score")
        table = table if values is None else table.append_column("score", [values])
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        with pytest.raises(DamagedFileError, match=f"examples.parquet: {problem}"):
            Store.open(store.uri).scores()
        assert [finding.problem for finding in verify_store(store.uri)[1]] == [problem]
    plain = Store.create(tmp_path / "plain", header(), sound.drop_columns("score"))
    assert plain.scores() == {}
    pq.write_table(sound, Path(plain.uri, "examples.parquet"), write_page_checksum=True)
    assert [finding.problem for finding in verify_store(plain.uri)[1]] == ["has unexpected columns"]


# What other commands make of it ------------------------------------------------------------------------------------


def test_plans_promise_no_standard_errors(tmp_path: Path, table: Path) -> None:
    planned = plan_campaign(explicit(table), LocalRunner().machine())
    assert planned.pending_runs == 8
    for row in planned.ratios:
        found = (row.largest_se, row.bound, row.median_se, row.p90_se, row.runs_for_all(0.1), row.runs_for_p90(0.1))
        assert found == (None,) * 6
    thresholds = plan_campaign(
        by_threshold({"at_least": 1}, {"at_least": 3}, "random", file=table), LocalRunner().machine()
    )
    assert [row.subset_size for row in thresholds.ratios] == [(counts_like_forgetting() < t).sum() for t in (1, 3)]
    with pytest.raises(
        CampaignError, match=r"^until_se: must be left out: explicit subsets are not random, so mem has"
    ):
        run_campaign(explicit(table), tmp_path / "s", until_se=0.1)
    assert not (tmp_path / "s").exists()


def test_scores_are_sent_along_with_a_submitted_campaign(tmp_path: Path, table: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / ".gitignore").write_text("*.parquet\n")
    campaign = explicit(table).with_absolute_paths()
    sent, files = with_sent_tables(campaign)
    with (
        driver_folder(dump_campaign(sent), str(tmp_path / "code"), files) as folder,
        pytest.MonkeyPatch.context() as at,
    ):
        at.chdir(folder)
        arrived = read_campaign(CAMPAIGN_FILE).with_absolute_paths()
        dataset = load_dataset(campaign.dataset)
        there, here = (resolve_tables(each, dataset)[0].identity("x") for each in (arrived, campaign))
        assert there == here
        assert sorted(path.name for path in folder.iterdir()) == [".gitignore", CAMPAIGN_FILE, SCORES_FILE]
    on_a_bucket = campaign.with_score_column("subsets.scores", file="s3://bucket/f.parquet")
    assert with_sent_tables(on_a_bucket) == (on_a_bucket, {})
    assert with_sent_tables(small_campaign()) == (small_campaign(), {})
    with pytest.raises(CampaignError, match=r"^subsets.scores.file: must be a file of this machine, .*, got '/none'"):
        with_sent_tables(campaign.with_score_column("subsets.scores", file="/none"))
    (tmp_path / "code" / SCORES_FILE).write_text("")
    with pytest.raises(CampaignError, match=f"has a {SCORES_FILE}"), driver_folder("", str(tmp_path / "code"), files):
        pass


def test_a_campaign_in_a_header_reads_back() -> None:
    campaign = explicit(drop=["lowest", {"window": 0.1}]).with_score_column("subsets.scores", sha256="c" * 64)
    made = header(campaign)
    assert type(made).from_json(made.to_json(), "x").campaign == campaign
    assert check_campaign(campaign.model_dump(mode="json")) == campaign

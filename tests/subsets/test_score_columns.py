"""Explicit subsets by several columns of scores: each rule goes by the column that it names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import open_store, plot, removal_curve, with_removed_scores
from orchestrator.campaigns.preflight import resolve_tables
from orchestrator.runners.ray.job_package import scores_file, with_sent_tables
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.explicit_subsets import N, explicit
from tests.stores import NUM_TEST, NUM_TRAIN, header, results
from workers.campaign.campaign import Campaign
from workers.campaign.drop_rules import column_of
from workers.campaign.keys import Run, Shard
from workers.campaign.yaml_io import check_campaign, dump_campaign, parse_campaign
from workers.datasets import load_dataset
from workers.errors import CampaignError
from workers.store import Store, examples_table
from workers.subsets.draw import draw_subset
from workers.subsets.explicit import ScoredExamples, scores_sha256, threshold_ratios

COLUMNS = {"cscore": {"file": "a.parquet", "column": "cscore"}, "accuracy": {"file": "b.csv", "column": "accuracy"}}
RULES = [{"lowest": "cscore"}, {"highest": "accuracy"}, {"window": 0.25, "scores": "accuracy"}, "random"]
TEXTS = ["cscore lowest", "accuracy highest", "accuracy window 0.25", "random"]


def by_columns(**changes: Any) -> Campaign:
    usual: dict[str, Any] = {"scores": COLUMNS, "drop": RULES, "ratios": [0.8], "repetitions": 8}
    return explicit(**usual | changes)


def scores(count: int) -> dict[str, Any]:
    return {"cscore": np.arange(float(count)), "accuracy": np.arange(float(count))[::-1].copy()}


def test_each_rule_drops_by_its_column() -> None:
    campaign, of = by_columns(), ScoredExamples(scores(100), np.zeros(100, np.int64))
    assert [str(rule) for rule in campaign.subsets.rules(800_000)] == TEXTS
    dropped = [np.flatnonzero(~draw_subset(campaign, Run(800_000, k), 100, of)).tolist() for k in range(4)]
    # The lowest C-scores and the highest accuracies are the same 20 here; a window starts at a quarter of the order.
    assert dropped[:3] == [[*range(20)], [*range(20)], [*range(55, 75)]]
    assert len(dropped[3]) == 20 and dropped[3] not in dropped[:3]
    # At random as by one column: the run's own stream alone decides.
    alone = explicit(drop=["lowest", "highest", {"window": 0.25}, "random"], ratios=[0.8], repetitions=8)
    single = ScoredExamples({"": np.arange(100.0)}, np.zeros(100, np.int64))
    assert np.flatnonzero(~draw_subset(alone, Run(800_000, 3), 100, single)).tolist() == dropped[3]


def test_thresholds_have_the_ratios_of_their_columns() -> None:
    drop = [{"at_least": 90.0, "scores": "cscore"}, {"at_most": 29.0, "scores": "accuracy"}, "random"]
    campaign = by_columns(drop=drop, ratios=[])
    ratios = threshold_ratios(campaign.subsets, scores(100))
    assert ratios == (0.9, 0.7)
    of = ScoredExamples(scores(100), np.zeros(100, np.int64))
    campaign = campaign.with_ratios(ratios)
    assert [str(rule) for rule in campaign.subsets.rules(900_000)] == ["cscore at least 90", "random"]
    assert np.flatnonzero(~draw_subset(campaign, Run(700_000, 0), 100, of)).tolist() == [*range(70, 100)]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"drop": ["lowest"]}, "subsets: drop: a rule must name a column of scores, cscore or accuracy, got lowest"),
        ({"drop": [{"lowest": "mem"}]}, "subsets: drop: a rule must name a column .*, got mem lowest"),
        ({"drop": [{"window": 0.1}]}, "subsets: drop: a rule must name a column of scores, .*, got window 0.1"),
        ({"scores": COLUMNS["cscore"]}, "subsets: drop: a rule must name no column, since scores has one, got cscore"),
        ({"scores": {"a": {"file": "f"}}, "drop": ["random"]}, "subsets.scores.a.column: is required"),
        ({"scores": {"A": COLUMNS["cscore"]}}, "subsets.scores.A: must be a name of 1 to 40 of a-z, .*, got 'A'"),
        ({"scores": {"a": COLUMNS["cscore"] | {"row": 1}}}, r"subsets.scores.a.row: unknown field \(.*\), got 1"),
        ({"scores": {}}, "subsets.scores.file: is required"),
        ({"scores": "cscore.parquet"}, "subsets.scores: must be a mapping, got 'cscore.parquet'"),
    ],
)
def test_mistakes_are_told_in_a_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(CampaignError, match=f"^campaign: {line}"):
        by_columns(**changes)


def test_a_campaign_of_several_columns_is_read_sent_and_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, values in scores(N).items():
        frame = pd.DataFrame({"example_id": np.arange(N), name: values})
        frame.to_parquet("a.parquet") if name == "cscore" else frame.to_csv("b.csv")
    campaign = by_columns().with_absolute_paths()
    assert [column.file for column in campaign.subsets.columns.values()] == [
        str(tmp_path / name) for name in ("a.parquet", "b.csv")
    ]
    assert parse_campaign(dump_campaign(campaign)) == campaign
    resolved, tables = resolve_tables(campaign, load_dataset(campaign.dataset))
    assert {name: values.tolist() for name, values in tables.scores.items()} == {
        f"score_{name}": values.tolist() for name, values in scores(N).items()
    }
    sent, files = with_sent_tables(campaign)
    assert list(files) == [scores_file(f"subsets.scores.{name}") for name in COLUMNS]
    assert sent.subsets.columns["cscore"].file == "longtail-scores-cscore"
    identity = resolved.identity("data")
    assert resolved.with_score_column("subsets.scores.cscore", file="/moved").identity("data") == identity
    other = resolved.with_score_column("subsets.scores.accuracy", sha256="a" * 64)
    swapped = by_columns(drop=[{"lowest": "accuracy"}, *RULES[1:]])
    assert len({identity, other.identity("data"), swapped.identity("data")}) == 3
    with pytest.raises(ValueError, match="has no scores.mem"):
        resolved.with_score_column("subsets.scores.mem", sha256="a" * 64)


def test_the_curve_has_a_line_for_each_column(tmp_path: Path) -> None:
    """The store keeps the scores; the mean score of the removed is of the rule's own column."""
    campaign, own = by_columns(), scores(NUM_TRAIN)
    campaign = campaign.model_copy(update={"record": small_campaign(record={"epochs": "all"}).record})
    for name, values in own.items():
        campaign = campaign.with_score_column(f"subsets.scores.{name}", sha256=scores_sha256(values))
    labels, columns = np.zeros(NUM_TRAIN, np.int64), {f"score_{name}": values for name, values in own.items()}
    examples = examples_table(labels, labels, np.zeros(NUM_TEST, np.int64), columns)
    store = Store.create(tmp_path / "s", header(campaign), examples)
    shard = Shard(800_000, 0, 8)
    store.commit(shard, results(shard, seed=3))
    assert verify_store(store.uri) == (2, [])
    reopened = Store.open(store.uri)
    assert {name: values.tolist() for name, values in reopened.scores().items()} == {
        name: values.tolist() for name, values in own.items()
    }
    assert type(store.header).from_json(store.header.to_json(), "x").campaign == campaign
    assert check_campaign(campaign.model_dump(mode="json")) == campaign
    curve = with_removed_scores(reopened, removal_curve(reopened))
    assert curve["rule"].tolist() == TEXTS
    assert curve["random_runs"].tolist() == [2, 2, 2, 0]
    subsets = open_store(store.uri).subsets(ratio=0.8).to_numpy()
    for place, rule in enumerate(campaign.subsets.drop[:3]):
        of_rule = [own[column_of(rule)][~subsets[k]].mean() for k in range(place, 8, 4)]
        assert curve["removed_score"][place] == pytest.approx(np.mean(of_rule))
    assert np.isnan(curve["removed_score"][3])
    legend = plot.removal(curve).get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == TEXTS

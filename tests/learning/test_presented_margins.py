"""Margins at presentations beside forgetting events, against a slow reference."""

from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, t

from analysis import EstimateError, presented_margins
from analysis.reading.sequences import scan_sequences
from orchestrator import run_campaign
from tests.command import call
from tests.conftest import small_campaign
from workers.store import Store


def slow_events(shown: np.ndarray, correct: np.ndarray) -> int:
    right = [bool(now) for seen, now in zip(shown, correct, strict=True) if seen]
    return sum(before and not after for before, after in pairwise(right))


def test_margins_against_a_slow_reference(tmp_path: Path) -> None:
    record = {"presentations": True, "presented_margin": True}
    campaign = small_campaign(
        recipe={"epochs": 6, "batch_size": 64}, subsets={"ratios": [0.6], "repetitions": 3}, record=record
    )
    run_campaign(campaign, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    examples, correlations = presented_margins(store)
    of_examples: dict[int, list[float]] = {}
    found = []
    for sequence in scan_sequences(store, values=("presented_margin",)):
        margins, events = [], []
        for i in np.flatnonzero(sequence.seen.any(axis=0)):
            values = sequence.values["presented_margin"][sequence.seen[:, i], i].astype(float)
            right = sequence.correct[sequence.seen[:, i], i]
            assert (right[values != 0] == (values > 0)[values != 0]).all()
            margins.append(mean(values))
            events.append(slow_events(sequence.seen[:, i], sequence.correct[:, i]))
            of_examples.setdefault(int(i), []).append(margins[-1])
        found.append(float(np.corrcoef(rankdata(margins), rankdata(events))[0, 1]))
    (row,) = correlations.to_dict("records")
    se = stdev(found) / 3**0.5
    assert row["spearman"] == pytest.approx(mean(found))
    assert row["spearman"] < -0.3
    assert row["se"] == pytest.approx(se)
    assert row["high"] - row["spearman"] == pytest.approx(t.ppf(0.975, 2) * se)
    for each in examples.to_dict("records"):
        values = of_examples.get(each["example_id"], [])
        assert each["n_runs"] == len(values)
        assert not values or each["margin"] == pytest.approx(mean(values))
        assert len(values) < 2 or each["margin_se"] == pytest.approx(stdev(values) / len(values) ** 0.5)
    code, shown, errors = call("forgetting", store.uri, "-o", tmp_path / "f.csv")
    assert code == 0, errors
    assert "mean margin at presentations against events: Spearman -0." in shown
    assert {"margin", "margin_se"} < set(pd.read_csv(tmp_path / "f.csv"))


def test_margins_that_were_not_recorded(tmp_path: Path) -> None:
    run_campaign(small_campaign(record={"presentations": True}), tmp_path / "s", repetitions=1)
    with pytest.raises(EstimateError, match=r"has no margins: record\.presented_margin must be true, got False"):
        presented_margins(Store.open(tmp_path / "s"))

"""Forgetting of groups of examples, and of the same examples before and after noise."""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch
from scipy.stats import ttest_ind

from analysis import EstimateError, count_runs, estimate_forgetting, group_examples, paired_forgetting, plot
from analysis.learning.forgetting import Forgetting
from tests.command import call
from tests.learning_runs import learning_runs
from tests.synthetic import Labelled, make_stores
from workers.campaign.keys import Run
from workers.store import Store

N = 30
NOISY = np.arange(N) % 5 == 0


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """Random runs: of clean labels 4, and 6 of those with noise."""
    folder, random = tmp_path_factory.mktemp("paired"), np.random.default_rng(2)
    runs = [{ratio: learning_runs(random, count, N, 4, ratio) for ratio in (0.4, 0.8)} for count in (4, 6)]
    clean = Labelled([0] * N, [0] * N, [0] * 3)
    noisy = Labelled([0] * N, NOISY.astype(int).tolist(), [0] * 3)
    return make_stores(folder / "before", runs[0], clean), make_stores(folder / "after", runs[1], noisy)


def events_of_runs(store: Store, members: np.ndarray) -> list[float]:
    """Of each run the mean over the group's examples that it was shown."""
    means = []

    def observe(run: Run, forgetting: Forgetting) -> None:
        shown = [int(forgetting.events[i]) for i in range(N) if members[i] and forgetting.presentations[i]]
        means.append(mean(shown))

    estimate_forgetting(store, 0.8, observe=observe)
    return means


def test_the_same_examples_before_and_after_noise(stores: tuple[Store, Store]) -> None:
    before, after = stores
    found = paired_forgetting(before, after)
    assert found.ratio == 0.8
    for row, members in zip(found.groups.to_dict("records"), (~NOISY, NOISY), strict=True):
        earlier, later = (events_of_runs(store, members) for store in stores)
        assert row["examples"] == members.sum()
        assert row["before"] == pytest.approx(mean(earlier))
        assert row["after_se"] == pytest.approx(stdev(later) / 6**0.5)
        assert row["difference"] == pytest.approx(mean(later) - mean(earlier))
        limits = ttest_ind(later, earlier, equal_var=False).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx(limits)
    for name, store in (("before", before), ("after", after)):
        alone = estimate_forgetting(store, 0.8)
        for column in ("forgetting", "forgetting_se"):
            mine = column.replace("forgetting", f"forgetting_{name}")
            np.testing.assert_array_equal(found.examples[mine], alone[column])
    assert (found.examples["noisy"] == NOISY).all()
    with pytest.raises(EstimateError, match=r"must be|no committed|ratio"):
        paired_forgetting(before, after, 0.5)


def test_groups_are_drawn_as_shares(stores: tuple[Store, Store]) -> None:
    _, after = stores
    frame = estimate_forgetting(after)
    axes = plot.forgetting(frame, groups=group_examples(after, count_runs(after), "noise"))
    outlines = [np.asarray(patch.get_data()[0]) for patch in axes.patches if isinstance(patch, StepPatch)]
    rows = frame[frame["ratio"] == 0.8]
    for outline, members in zip(outlines, (~NOISY, NOISY), strict=True):
        learned = rows[members & (rows["n_learned"] > 0)]
        expected = [(np.ceil(learned["forgetting"]) == k).sum() / members.sum() for k in range(len(outline))]
        assert outline.tolist() == pytest.approx(expected)


def test_the_commands(stores: tuple[Store, Store], tmp_path: Path) -> None:
    before, after = (store.uri for store in stores)
    code, shown, errors = call("forgetting", after, "--ratio", 0.8, "--by", "noise", "--plot", tmp_path / "g.png")
    assert code == 0, errors
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith(("clean", "noisy"))] == [
        ["clean", "24"],
        ["noisy", "6"],
    ]
    files = ("-o", tmp_path / "p.csv", "--plot", tmp_path / "p.svg")
    code, shown, errors = call("forgetting", after, "--before", before, *files)
    assert code == 0, errors
    assert "difference" in shown
    assert "Welch's" in shown
    assert pd.read_csv(tmp_path / "p.csv")["noisy"].sum() == 6
    assert (tmp_path / "p.svg").stat().st_size > 1000
    assert call("forgetting", after, "--before", before, "--by", "noise")[0] == 2
    assert call("forgetting", before, "--by", "noise")[0] != 0

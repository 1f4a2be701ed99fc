"""Training until a standard error is reached: the same end whatever the shards, interruptions and drivers."""

import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from benchmarks.isolation import wait_until
from orchestrator import campaign_status, run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress, CampaignReport
from orchestrator.campaigns.until_se import check_points
from tests.campaigns.test_run import ROOT, contents, estimates, runs_of
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import dump_campaign
from workers.errors import CampaignError

TARGET = 0.2
"""Both ratios of `stopping` reach it, at different numbers of runs."""


def stopping(**changes: object) -> Campaign:
    return small_campaign(**{"subsets": {"ratios": [0.9, 0.6], "repetitions": 100, "seed": 5}, **changes})


def ends(report: CampaignReport) -> list[tuple[float, int, bool]]:
    return [(check.ratio, check.repetitions, check.reached) for check in report.stopping_checks]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, CampaignReport]:
    """Shards of 4."""
    store = tmp_path_factory.mktemp("until") / "s"
    return store, run_campaign(stopping(), store, shard_size=4, until_se=TARGET)


def standard_error(store: Path, ratio: float, repetitions: int) -> float:
    """What 90% of the examples do not exceed after the first repetitions."""
    view = analysis.open_store(store)
    subsets = view.subsets(ratio=ratio).to_numpy()[:repetitions]
    correct = view.correctness("train", ratio=ratio).to_numpy()[:repetitions]
    variances = np.zeros(subsets.shape[1])
    for group in (subsets, ~subsets):
        size = group.sum(axis=0)
        mean = ((correct & group).sum(axis=0) + 0.5) / (size + 1)
        with np.errstate(divide="ignore"):
            variances += mean * (1 - mean) / size  # infinite for an empty group
    ses = np.sqrt(variances).tolist()
    return sorted(ses)[math.ceil(0.9 * len(ses)) - 1]


def test_looks_are_a_quarter_apart() -> None:
    assert list(check_points(60)) == [10, 13, 17, 22, 28, 35, 44, 55, 60]
    assert list(check_points(13)) == [10, 13]
    assert list(check_points(3)) == [3]


@pytest.mark.slow
def test_each_ratio_ends_at_the_first_look_that_reaches_the_target(undisturbed: tuple[Path, CampaignReport]) -> None:
    store, report = undisturbed
    assert report.complete
    checks = report.stopping_checks
    assert len({check.repetitions for check in checks}) == 2, "the ratios must differ for this test to tell"
    for check in checks:
        rungs = [rung for rung in check_points(100) if rung <= check.repetitions]
        ses = [standard_error(store, check.ratio, rung) for rung in rungs]
        assert [se <= TARGET for se in ses] == [False] * (len(ses) - 1) + [True]
        assert check.se == pytest.approx(ses[-1])
    trained = {row.ratio: row.committed for row in campaign_status(str(store)).ratios}
    assert trained == {check.ratio: -(-check.repetitions // 4) * 4 for check in checks}, "whole shards, no more"


@pytest.mark.slow
def test_status_is_about_what_was_asked_for(undisturbed: tuple[Path, CampaignReport]) -> None:
    store, report = undisturbed
    status = campaign_status(str(store))
    assert all(row.requested == row.committed for row in status.ratios)
    assert (report.progress.total, report.progress.committed) == (status.requested, status.committed)


@pytest.mark.slow
def test_the_end_does_not_depend_on_the_shards(undisturbed: tuple[Path, CampaignReport], tmp_path: Path) -> None:
    report = run_campaign(stopping(), tmp_path / "s", shard_size=7, until_se=TARGET)
    assert ends(report) == ends(undisturbed[1])


@pytest.mark.slow
def test_the_end_does_not_depend_on_interruptions(undisturbed: tuple[Path, CampaignReport], tmp_path: Path) -> None:
    def interrupt(progress: CampaignProgress) -> None:
        if progress.trained >= 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_campaign(stopping(), tmp_path / "s", shard_size=4, until_se=TARGET, on_progress=interrupt)
    report = run_campaign(stopping(), tmp_path / "s", until_se=TARGET)
    assert report.stopping_checks == undisturbed[1].stopping_checks
    assert contents(tmp_path / "s") == contents(undisturbed[0])


@pytest.mark.slow
def test_beyond_a_look_more_runs_are_trained_and_do_not_change_it(
    undisturbed: tuple[Path, CampaignReport], tmp_path: Path
) -> None:
    """To a closer target; without one all the rest; and then the first target has been reached where it was."""
    store, first = tmp_path / "s", undisturbed[1]
    shutil.copytree(undisturbed[0], store)
    closer = run_campaign(stopping(), store, until_se=0.15)
    assert 0 < closer.progress.trained < 200 - first.progress.committed
    rest = run_campaign(stopping(), store)
    assert rest.stopping_checks == ()
    assert (rest.progress.before, rest.progress.committed) == (closer.progress.committed, 200)
    assert campaign_status(str(store)).requested == 200
    again = run_campaign(stopping(), store, until_se=TARGET)
    assert (again.progress.trained, again.complete) == (0, True)
    assert again.stopping_checks == first.stopping_checks


def test_the_repetitions_are_the_most(tmp_path: Path) -> None:
    report = run_campaign(stopping(), tmp_path / "s", until_se=0.001, repetitions=11)
    assert ends(report) == [(0.9, 11, False), (0.6, 11, False)]
    assert (report.progress.trained, report.complete) == (22, True)


@pytest.mark.slow
def test_ratio_1_and_diverged_runs_never_reach_it(tmp_path: Path) -> None:
    wild = {"epochs": 2, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}}
    campaign = stopping(recipe=wild, subsets={"ratios": [1.0, 0.6], "repetitions": 12})
    report = run_campaign(campaign, tmp_path / "s", until_se=1.0)
    assert [(check.ratio, check.se, check.reached) for check in report.stopping_checks] == [
        (1.0, None, False),
        (0.6, math.inf, False),
    ]
    assert report.progress.trained == 24


@pytest.mark.slow
def test_failures_are_told_and_not_tried_at_every_step(tmp_path: Path) -> None:
    campaign = stopping(model={"name": "user_code:raising_model"}, subsets={"ratios": [0.6], "repetitions": 20})
    report = run_campaign(campaign, tmp_path / "s", shard_size=4, until_se=0.5)
    assert not report.complete
    assert [failure.error.shard.start for failure in report.failures] == [0, 4, 8, 12, 16]
    assert ends(report) == [(0.6, 20, False)]


@pytest.mark.slow
def test_a_driver_that_is_killed_and_two_at_once_lose_nothing(
    undisturbed: tuple[Path, CampaignReport], tmp_path: Path
) -> None:
    """SIGKILL as soon as runs are committed; then another driver beside this process.

    Both may work; each run is committed once, and both end where an undisturbed driver does.
    """
    script = (
        "import os, signal, sys\nfrom tests.campaigns.test_until_se import TARGET, ends, stopping\n"
        "from orchestrator import run_campaign\n"
        "def kill(progress):\n    if progress.trained and sys.argv[2:]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "print(ends(run_campaign(stopping(), sys.argv[1], shard_size=4, until_se=TARGET, on_progress=kill)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s")]
    killed = subprocess.run([*command, "kill"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, ""), killed.stderr
    before = len(runs_of(tmp_path / "s"))
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert wait_until(lambda: len(list((tmp_path / "s" / "results").glob("r*"))) > before // 4, other)
    here = ends(run_campaign(stopping(), tmp_path / "s", until_se=TARGET))
    assert here == ends(undisturbed[1])
    assert other.communicate()[0] == f"{here}\n"
    assert len(runs_of(tmp_path / "s")) == len(set(runs_of(tmp_path / "s")))
    assert contents(tmp_path / "s") == contents(undisturbed[0])
    assert estimates(tmp_path / "s") == estimates(undisturbed[0])


@pytest.mark.parametrize("target", [0, -1, 2, math.nan, "0.05", np.inf])
def test_targets_are_checked_before_anything_is_written(target: Any, tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=r"^until_se: must be a number from 0.0001 to 1 or None, got "):
        run_campaign(stopping(), tmp_path / "s", until_se=target)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_the_command_tells_where_each_ratio_ended(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        dump_campaign(stopping(subsets={"ratios": [0.6, 0.9, 1.0], "repetitions": 30, "seed": 5}))
    )
    code, output, _ = call("run", "c.yaml", "--store", "s", "--until-se", TARGET, cwd=tmp_path)
    assert code == 0
    first, second, third = (line for line in output.splitlines() if line.startswith("ratio "))
    assert first.startswith("ratio 0.6: expected se 0.1") and first.endswith(" <= 0.2 after 28 runs")
    assert second.startswith("ratio 0.9: expected se ") and second.endswith(" > 0.2 after all 30 runs")
    assert third == "ratio 1: no example is held out, so mem has no expected se; all 30 runs"
    committed = campaign_status(str(tmp_path / "s")).committed
    assert f"{committed} of {committed} runs in " in output

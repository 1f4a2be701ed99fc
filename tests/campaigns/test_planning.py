"""Plans: what a campaign would train, how precise mem would be, how long it would take."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import analysis
from analysis.estimators.pilots import planned_variance
from orchestrator import plan_campaign, run_campaign
from orchestrator.campaigns.duration import Pace, calibrated_pace, estimate_duration, recorded_pace
from orchestrator.campaigns.plan import Plan
from orchestrator.cli.app import app
from tests.command import call
from tests.conftest import small_campaign
from tests.runners.test_auto import whole_machine
from tests.stores import new_store
from tests.synthetic import make_stores, random_runs
from workers.campaign.campaign import Campaign
from workers.campaign.curriculum import Curriculum
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import dump_campaign
from workers.datasets import load_dataset
from workers.errors import CampaignError, ModelError
from workers.store import Store
from workers.training import Engine, SequentialEngine, StackedEngine, hardware
from workers.training.hardware import Machine
from workers.training.run_timing import RunTimes, time_runs

CPU = Machine("cpu", False, 0)


def planned(campaign: Campaign, store: Path | None = None) -> Plan:
    return plan_campaign(campaign, CPU, None if store is None else str(store))


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A store with 12 runs at 0.2 and at 0.6."""
    store = tmp_path_factory.mktemp("pilot") / "s"
    run_campaign(small_campaign(), store, repetitions=12)
    return store


def test_a_new_campaign_has_figures_at_worst_only() -> None:
    campaign = small_campaign(subsets={"ratios": [0.001, 0.6, 1.0], "repetitions": 50})
    few, some, everybody = planned(campaign).ratios
    assert (some.runs, some.committed, some.subset_size) == (50, 0, 862)
    share = 862 / 1437
    assert some.largest_se == pytest.approx(math.sqrt(0.25 / (50 * share) + 0.25 / (50 * (1 - share))))
    assert some.bound == analysis.feldman_zhang_bound(share, 50)
    assert (few.largest_se, few.bound) == (None, None), "less than one run with an example is expected"
    assert (everybody.largest_se, everybody.bound, everybody.runs_for_all(0.1)) == (None, None, None)
    for row in (few, some, everybody):
        assert (row.pilot, row.median_se, row.p90_se, row.runs_for_p90(0.1)) == (None, None, None, None)


@pytest.mark.slow
def test_a_pilot_tells_of_the_median_and_of_most_examples(pilot: Path) -> None:
    campaign = small_campaign(subsets={"ratios": [0.2, 0.6, 0.9], "repetitions": 300, "seed": 5})
    *known, unknown = planned(campaign, pilot).ratios
    for row, ratio in zip(known, analysis.count_runs(Store.open(pilot)).ratios, strict=True):
        found = planned_variance(ratio)
        assert found is not None and row.pilot == found
        assert (row.committed, found.runs) == (12, 12)
        assert row.median_se == pytest.approx(math.sqrt(found.median / 300))
        assert row.p90_se == pytest.approx(math.sqrt(found.p90 / 300))
        needed, limits = row.runs_for_p90(0.05), row.range_for_p90(0.05)
        assert needed == math.ceil(found.p90 / 0.05**2)
        assert limits is not None and limits[0] <= needed <= limits[1]
    assert (unknown.pilot, unknown.committed) == (None, 0)


def test_runs_that_all_diverged_are_no_pilot(tmp_path: Path) -> None:
    campaign = small_campaign(
        recipe={"epochs": 2, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}},
    )
    run_campaign(campaign, tmp_path / "s")
    assert [(row.committed, row.pilot) for row in planned(campaign, tmp_path / "s").ratios] == [(3, None), (3, None)]


# How long -----------------------------------------------------------------------------------------------------------


def test_workers_take_the_next_shard_when_they_are_free() -> None:
    pace = Pace({200_000: 1.0, 600_000: 5.0}, "cpu", "")
    shards = [Shard(600_000, 0, 2), Shard(200_000, 0, 2), Shard(200_000, 2, 4), Shard(200_000, 4, 5)]
    durations = [estimate_duration(shards, pace, 1, workers) for workers in (1, 2, 3, 100)]
    assert [duration.worker_seconds for duration in durations] == [15.0] * 4
    assert [duration.wall_seconds for duration in durations] == [15.0, 10.0, 10.0, 10.0]
    assert estimate_duration([], pace, 1, 4).wall_seconds == 0


def test_stacks_are_trained_whole() -> None:
    pace = Pace({200_000: 1.0}, "cpu", "")
    assert estimate_duration([Shard(200_000, 3, 9)], pace, 4, 1).worker_seconds == 12
    assert estimate_duration([Shard(200_000, 4, 8)], pace, 4, 1).worker_seconds == 4


def test_the_pace_of_the_stores_runs(tmp_path: Path) -> None:
    """A ratio's own median on the commonest device; another's in proportion to what is trained and evaluated."""
    random = np.random.default_rng(0)
    common = random_runs(random, 5, 100, 20, seconds=3.0)
    other = random_runs(random, 2, 100, 20, seconds=70.0, device="NVIDIA")
    store = make_stores(tmp_path / "s", {0.5: common, 0.4: other})
    campaign = small_campaign(subsets={"ratios": [0.5, 0.2], "repetitions": 9})
    pace = recorded_pace(campaign, store)
    assert pace is not None
    assert (pace.device, pace.source) == ("cpu", "the 5 runs in the store")
    # Two epochs, one evaluation of 120 examples; an example trained on costs three forward passes.
    assert dict(pace.seconds) == {500_000: 3.0, 200_000: pytest.approx(3.0 * (3 * 40 + 120) / (3 * 100 + 120))}
    assert recorded_pace(campaign, new_store(tmp_path / "empty")) is None


def test_a_run_is_its_start_its_steps_and_its_evaluations() -> None:
    campaign = small_campaign(recipe={"epochs": 3, "batch_size": 32}, record={"epochs": "all"})
    times = RunTimes(start=100.0, step=1.0, evaluation=0.01)
    assert times.of_run(campaign, subset_size=65, num_examples=1000) == pytest.approx(100 + 3 * 3 + 3 * 10)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [SequentialEngine(), StackedEngine(3)])
def test_calibration_times_every_part(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a schedule that has no value after its last epoch; the caller's generator and threads stay as they are."""
    monkeypatch.setattr("workers.training.run_timing._ENOUGH_SECONDS", 0.0)
    campaign = small_campaign(recipe={"epochs": 1, "batch_size": 32, "schedule": {"name": "one-cycle"}})
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    times = time_runs(campaign, load_dataset(campaign.dataset), engine, torch.device("cpu"))
    assert min(times.start, times.step, times.evaluation) > 0
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "recipe",
    [
        {"epochs": 1, "batch_size": 250, "drop_last": True},
        {"epochs": 1, "batch_size": 64, "drop_last": True, "curriculum": {"partitions": 2}},
        {"epochs": 1, "batch_size": 4, "curriculum": {"partitions": 50}},
    ],
)
def test_calibration_reaches_the_end_of_the_data(recipe: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.training.run_timing._ENOUGH_SECONDS", 0.0)
    campaign = small_campaign(recipe=recipe)
    pace = calibrated_pace(planned(campaign), torch.device("cpu"))
    assert pace.device == "cpu"
    assert 0 < pace.seconds[200_000] <= pace.seconds[600_000]


def test_a_model_that_does_not_fit_is_refused_before_a_store_is_made(
    small: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 20_000)
    parts = r"\(weights 2.4 kB, gradients 2.4 kB, optimizer state 2.4 kB, activations [\d.]+ kB\)"
    help = r"lower recipe.batch_size \(256\), set recipe.precision: bfloat16 or choose a smaller model"
    message = rf"^model mlp: one model takes about [\d.]+ kB {parts}, this machine has 20.0 kB free: {help}$"
    with pytest.raises(ModelError, match=message):
        plan_campaign(small, hardware.detect_machine(torch.device("cpu")))
    with pytest.raises(ModelError, match=message):
        run_campaign(small, tmp_path / "s")
    with pytest.raises(ModelError, match=r"the GPU has 20.0 kB: lower recipe.batch_size \(256\) or choose a smaller"):
        plan_campaign(small, Machine("cuda", True, 20_000))
    assert not (tmp_path / "s").exists()


def test_memory_is_that_of_a_minibatch_that_a_subset_fills(small: Campaign) -> None:
    """A batch larger than every subset takes what the largest subset takes, or the partition that an epoch shows."""
    sizes = [plan.subset_size for plan in planned(small).ratios]
    whole, larger = (
        planned(small.model_copy(update={"recipe": small.recipe.model_copy(update={"batch_size": size})}))
        for size in (max(sizes), 1_000_000)
    )
    assert larger.memory.activations == whole.memory.activations
    turns = small.recipe.model_copy(update={"batch_size": 1_000_000, "curriculum": Curriculum(partitions=4)})
    assert planned(small.model_copy(update={"recipe": turns})).memory.activations < whole.memory.activations / 2


def test_a_stack_that_does_not_fit_is_refused_where_nothing_would_make_it_smaller(
    small: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = planned(small).memory.least
    monkeypatch.setattr(hardware, "free_memory", lambda: 2 * one)
    message = r"^stack_size: 10,000 models at a time take about [\d.]+ GB, .* free: at most 2 fit \(--stack-size\)$"
    with pytest.raises(CampaignError, match=message):
        run_campaign(small, tmp_path / "s", stack_size=10_000)
    assert not (tmp_path / "s").exists()
    assert plan_campaign(small, Machine("cuda", False, 2 * one)).execution_plan.stack_size > 0


# The command --------------------------------------------------------------------------------------------------------


def told(campaign: Campaign, folder: Path, *words: object) -> str:
    """What `longtail plan` prints about a campaign, in this process."""
    (folder / "c.yaml").write_text(dump_campaign(campaign))
    given = ["plan", str(folder / "c.yaml"), *map(str, words)]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_plan_tells_runs_precision_and_time(pilot: Path, tmp_path: Path) -> None:
    campaign = small_campaign(subsets={"ratios": [0.2, 0.6, 1.0], "repetitions": 20, "seed": 5})
    output = told(campaign, tmp_path, "--store", pilot, "--target-se", 0.1, "--workers", 2)
    lines = output.splitlines()
    first, second = (
        next(k for k, line in enumerate(lines) if line.lstrip().startswith("ratio ") and word in line)
        for word in ("subset", "runs for")
    )
    rows = {line.split()[0]: line.split()[1:] for line in lines[first + 1 : first + 4]}
    needed = [line.split() for line in lines[second + 1 : second + 3]]
    assert rows["0.2"][:5] == ["287", "20", "12", "8", "0.280"]
    assert rows["1"] == ["1437", "20", "0", "20", *["-"] * 4]
    assert "based on 12 runs per ratio in the store" in output
    most, worst = (int(number) for number in re.findall(r"--repetitions (\d+)", output))
    assert [(row[0], row[3]) for row in needed] == [("0.2", "to"), ("0.6", "to")]
    assert most == max(int(row[1]) for row in needed)
    assert worst == max(int(row[5]) for row in needed) == 157
    assert all(int(row[2]) <= int(row[1]) <= int(row[4]) for row in needed)
    assert re.search(
        r"about [\d.]+ core-seconds: [\d.]+ seconds with 2 workers \(based on the 24 runs in the store, cpu", output
    )


@pytest.mark.slow
def test_plan_calibrates_when_asked_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.training.run_timing._ENOUGH_SECONDS", 0.0)
    output = told(small_campaign(), tmp_path)
    assert "no time estimate: --calibrate measures it" in output
    assert re.search(
        r"(?m)^memory in training: one model [\d.]+ kB \(weights 2.4 kB, .*; 3 models [\d.]+ kB; data ", output
    )
    output = told(small_campaign(), tmp_path, "--calibrate", "--store", tmp_path / "none")
    assert re.search(
        r"about [\d.]+ (core|GPU)-seconds: [\d.]+ seconds with 1 worker \(based on a calibration, ", output
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("start", "most", "seconds", "line"),
    [
        (8.0, 1e12, 0.1, "in this process: about 5 s of work; starting Ray would take longer"),
        (8.0, 1e12, 3600.0, "on 2 cores with Ray: about 2 days of work for one worker"),
        (8.0, 1e12, None, "in this process, and on 2 cores with Ray if more than 16 s of work are left"),
        (0.0, 1.0, None, "on 2 cores with Ray: at least"),
        (0.0, 1.0, 3600.0, "on 2 cores with Ray: about 2 days of work for one worker"),
    ],
)
def test_plan_says_where_run_trains(
    start: float, most: float, seconds: float | None, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rule of `--runner auto` itself."""
    whole_machine(monkeypatch, start=start, most=most)
    monkeypatch.setattr("orchestrator.runners.machine_slots.free_memory", lambda: 2**40)
    if seconds is not None:
        pace = Pace(dict.fromkeys((200_000, 600_000), seconds), "cpu", "a test")
        monkeypatch.setattr("orchestrator.campaigns.duration.calibrated_pace", lambda *given: pace)
    output = told(
        small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 24}),
        tmp_path,
        *([] if seconds is None else ["--calibrate"]),
    )
    assert f"longtail run trains {line}" in output
    assert ("with 2 workers" in output) == (seconds == 3600.0)


@pytest.mark.slow
def test_plans_at_the_edge(pilot: Path, tmp_path: Path) -> None:
    """Nothing left to train; no ratio with a mem; more runs than a campaign can have; a pilot at some ratios only."""
    output = told(small_campaign(), tmp_path, "--store", pilot, "--calibrate")
    assert ("0 runs to train" in output, "core-" in output) == (True, False)
    everybody = small_campaign(subsets={"ratios": [1.0], "repetitions": 2})
    assert "at ratio 1 there is no mem" in told(everybody, tmp_path, "--target-se", 0.1)
    assert "runs (more than a campaign can have) for all examples in the worst case" in told(
        small_campaign(), tmp_path, "--target-se", 0.0001
    )
    wider = small_campaign(subsets={"ratios": [0.2, 0.9], "repetitions": 20, "seed": 5})
    assert "90% of the examples" not in told(wider, tmp_path, "--store", pilot, "--target-se", 0.1)


@pytest.mark.parametrize("words", [["plan", "--target-se"], ["run", "--store", "s", "--until-se"]])
@pytest.mark.parametrize("value", ["0", "nan", "1.1"])
def test_standard_errors_that_are_none(words: list[str], value: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign()))
    code, output, error = call(words[0], "c.yaml", *words[1:], value, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert words[-1].strip("-").replace("-", "_") in error.replace("-", "_")
    assert "Traceback" not in error
    assert not (tmp_path / "s").exists()

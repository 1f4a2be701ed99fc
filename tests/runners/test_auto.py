"""`--runner auto`: in this process, or with Ray on the whole machine, by the work left; the same bits in either."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import ray
from typer.testing import CliRunner

from orchestrator import run_campaign
from orchestrator.cli.app import app
from orchestrator.runners import auto, machine_slots, placement_choice
from tests.campaigns.test_run import contents
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import dump_campaign
from workers.common.free_memory import free_memory


def whole_machine(patch: pytest.MonkeyPatch, *, cores: int = 2, start: float = 0.0, most: float = 1.0) -> None:
    """A machine of some cores, on which Ray starts in some seconds, and a core does at most so many operations/s."""
    patch.setattr(machine_slots, "usable_cores", lambda: cores)
    patch.setitem(placement_choice.START_SECONDS, "cpu", start)
    patch.setitem(placement_choice.MOST_OPERATIONS, "cpu", most)
    patch.delenv("RAY_ADDRESS", raising=False)


def placement(campaign: Campaign, store: Path) -> str:
    report = run_campaign(campaign, store, shard_size=1)
    assert report.complete
    return report.progress.placement


@pytest.mark.parametrize(
    ("seconds", "workers", "device", "worth"),
    [
        (15.9, 2, "cpu", False),
        (16.1, 2, "cpu", True),
        (9, 64, "cpu", True),
        (1e6, 1, "cpu", False),
        (60, 4, "cuda", False),
    ],
)
def test_ray_is_worth_its_start_where_the_work_ends_sooner(
    seconds: float, workers: int, device: str, worth: bool
) -> None:
    assert placement_choice.worth_starting_ray(seconds, workers, device) is worth


def test_small_work_stays_in_this_process_which_the_command_says_once(
    small: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_machine(monkeypatch, start=8.0, most=1e12)
    (tmp_path / "c.yaml").write_text(dump_campaign(small))
    result = CliRunner().invoke(app, ["run", str(tmp_path / "c.yaml"), "-s", str(tmp_path / "s"), "--shard-size", "1"])
    lines = [line for line in result.stderr.splitlines() if line.startswith("training")]
    assert len(lines) == 1
    assert lines[0].startswith("training in this process: about ")
    assert lines[0].endswith(" s of work; starting Ray would take longer")


REASONS: dict[str, tuple[Mapping[str, int], str]] = {
    "one core": ({"cores": 1}, "training in this process: this machine has 1 core"),
    "no memory": ({}, "training in this process: memory is free for 1 worker"),
    "a cluster": ({}, "of work: RAY_ADDRESS is set or Ray is initialized; --runner ray uses that cluster"),
    "no Ray": ({}, 'of work: Ray is not installed, pip install "longtail[ray]" trains on 2 cores'),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_hinders_ray_is_said(name: str, small: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, reason = REASONS[name]
    whole_machine(monkeypatch, **machine)
    if name == "no memory":
        monkeypatch.setattr(machine_slots, "free_memory", lambda: machine_slots.WORKER_BYTES * 3 // 2)
    if name == "a cluster":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    if name == "no Ray":
        monkeypatch.setattr(placement_choice, "is_installed", lambda package: package != "ray")
    told = placement(small, tmp_path / "s")
    assert told.startswith("training in this process")
    assert told.endswith(reason)


@pytest.mark.parametrize(("shards", "reason"), [(1, "1 shard is left"), (3, "starting Ray would take longer")])
def test_one_shard_has_nothing_to_share(
    shards: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_machine(monkeypatch, start=1e9)
    campaign = small_campaign(subsets={"ratios": [0.5], "repetitions": shards})
    assert placement(campaign, tmp_path / "s").endswith(reason)


def test_a_problem_with_ray_is_noted_and_the_campaign_goes_on(
    small: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_machine(monkeypatch)
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    report = run_campaign(small, tmp_path / "s", shard_size=1)
    assert report.complete
    assert report.progress.trained == report.progress.total
    assert report.progress.placement == "training in this process: Ray cannot be used"
    (note,) = report.notes
    assert note.startswith(f"Ray cannot be used, so training went on in one process: {token}: other users")


@pytest.mark.ray
def test_work_that_turns_out_long_goes_on_with_ray_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts once for a campaign: for all steps of `until_se`, as for the look at a GPU before."""
    started: list[object] = []
    init = ray.init

    def counted(**options: object) -> object:
        started.append(options)
        return init(**options)

    campaign = small_campaign(subsets={"ratios": [0.6], "repetitions": 14})
    run_campaign(campaign, tmp_path / "local", shard_size=1, runner="local")
    whole_machine(monkeypatch, start=0.01, most=1e15)  # the first shard's time tells, nothing before it
    monkeypatch.setattr(auto, "_TIMED_SECONDS", 0.0)
    monkeypatch.setattr(ray, "init", counted)
    places: list[str] = []
    report = run_campaign(
        campaign,
        tmp_path / "auto",
        shard_size=1,
        until_se=0.0001,
        on_progress=lambda progress: places.append(progress.placement),
    )
    assert report.complete
    assert report.stopping_checks[0].repetitions == 14
    assert [text.partition(":")[0] for text in dict.fromkeys(places)][:2] == ["", "training on 2 cores with Ray"]
    assert report.progress.trained == 14
    assert contents(tmp_path / "auto") == contents(tmp_path / "local")
    assert len(started) == 1
    assert not ray.is_initialized()


def test_memory_that_is_free_is_known_here() -> None:
    free = free_memory()
    assert free is None or 2**20 < free < 2**50

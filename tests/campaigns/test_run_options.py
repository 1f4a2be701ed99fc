"""`RunOptions`: every option reaches the campaign from `run`, from `submit` by its job, and from Python."""

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import orchestrator.campaigns.run
import orchestrator.runners.ray.jobs
from analysis.estimators.standard_errors import SMALLEST_TARGET
from orchestrator.cli.app import app
from orchestrator.runners.run_options import RunOptions, option_flag, option_info
from tests.conftest import small_campaign
from workers.campaign.yaml_io import dump_campaign
from workers.errors import CampaignError, LongtailError
from workers.store import Store

GIVEN: dict[str, Any] = {
    "runner": "ray",
    "address": "10.0.0.1:6379",
    "gpus_per_worker": 0.25,
    "workers": 3,
    "working_dir": "CODE",
    "device": "cuda",
    "repetitions": 7,
    "shard_size": 2,
    "stack_size": 2,
    "until_se": 0.125,
    "checkpoint_minutes": None,
    "download": True,
}
"""A value of every field that is not its default."""


class SeenError(LongtailError):
    """Ends a command where its options were seen."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign()))
    return tmp_path


def given(place: Path, **others: Any) -> RunOptions:
    return RunOptions(**GIVEN | {"working_dir": str(place / "code")} | others)


def options_of_run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """What `longtail run` makes of its command line."""

    def run_campaign(campaign: object, store: object, options: RunOptions, **listeners: object) -> None:
        raise SeenError(options)

    monkeypatch.setattr(orchestrator.campaigns.run, "run_campaign", run_campaign)
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, SeenError), error
    options: RunOptions = error.args[0]
    return options


def options_of_submit(words: list[str], monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """What the job of `longtail submit` makes of the command line that it is sent."""

    class Jobs:
        def __init__(self, address: str) -> None:
            assert address == "http://head:8265"

        def submit(self, name: str, command: str, folder: Path, metadata: object) -> None:
            raise SeenError(command)

    monkeypatch.setattr(orchestrator.runners.ray.jobs, "Jobs", Jobs)
    error = CliRunner().invoke(app, [*words, "--address", "http://head:8265"]).exception
    assert isinstance(error, SeenError), error
    _, *sent = shlex.split(error.args[0])
    sent[1] = words[1]  # the campaign file as it was sent
    return options_of_run(sent, monkeypatch)


def words_of(options: RunOptions, name: str) -> list[str]:
    """One field on the command line, written out here: flag and value."""
    value = getattr(options, name)
    if value is True:
        return [option_flag(name)]
    return [option_flag(name), "never" if value is None else str(value)]


def test_every_field_has_another_value_here() -> None:
    assert GIVEN.keys() == {field.name for field in fields(RunOptions)}
    assert [field.name for field in fields(RunOptions) if GIVEN[field.name] == field.default] == []


def test_run_and_submit_take_every_option(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = given(place)
    command = [str(place / "c.yaml"), "--store", str(place / "s")]
    words = [word for name in GIVEN for word in words_of(expected, name)]
    assert options_of_run(["run", *command, *words], monkeypatch) == expected
    own = [word for name in GIVEN if name not in ("runner", "address") for word in words_of(expected, name)]
    # What `submit` itself decides: the job runs on the cluster that it is in, in the folder with the user's code. The
    # data set is no torchvision one, so there is nothing to download.
    there = replace(expected, address="auto", working_dir=None, download=False)
    assert options_of_submit(["submit", *command, *own], monkeypatch) == there


def test_without_options_run_submit_and_python_have_the_same_defaults(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(place / "c.yaml"), "--store", str(place / "s")]
    assert options_of_run(["run", *command], monkeypatch) == RunOptions()
    assert options_of_submit(["submit", *command], monkeypatch) == RunOptions(runner="ray", address="auto")


def test_python_takes_the_object_and_its_fields_as_keywords(place: Path) -> None:
    campaign = small_campaign()
    report = orchestrator.run_campaign(campaign, place / "s", RunOptions(repetitions=5), repetitions=1, shard_size=1)
    assert report.progress.total == len(campaign.subsets.ratios) and report.complete
    with pytest.raises(TypeError, match="unexpected keyword argument 'shards'"):
        orchestrator.run_campaign(campaign, place / "t", shards=1)
    with pytest.raises(CampaignError, match=r"^workers: need runner ray \(--runner ray\), got runner local$"):
        orchestrator.run_campaign(campaign, place / "t", runner="local", workers=2)


def test_a_stack_size_is_said_and_kept_with_the_store(place: Path) -> None:
    fixed = "stacks of 3 models were requested: the store keeps its size, 2, which was fixed when it was made"
    requested = (
        "stacks of 2 models, as requested (--stack-size): 4 models train for the 3 runs of a ratio, in whole stacks"
    )
    for size, note in ((2, requested), (3, fixed)):
        report = orchestrator.run_campaign(small_campaign(), place / "s", stack_size=size)
        assert (report.complete, report.notes) == (True, (note,))
    assert Store.open(place / "s").header.stack_size == 2


def test_options_of_a_cluster_choose_ray_where_the_runner_is_left_to_auto() -> None:
    assert (RunOptions().runner, RunOptions(device="cpu").runner) == ("auto", "auto")
    assert [RunOptions(workers=2).runner, RunOptions(gpus_per_worker=0).runner] == ["ray", "ray"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("runner", "slurm", "one of auto, local, ray"),
        ("device", "tpu", "one of cpu, cuda or None"),
        ("workers", 0, "a whole number from 1 to 100000 or None"),
        ("workers", True, "a whole number"),
        ("workers", 1.5, "a whole number"),
        ("shard_size", 10_001, "a whole number from 1 to 10000"),
        ("gpus_per_worker", float("nan"), "a number from 0 to 64"),
        ("gpus_per_worker", 1.5, "a whole number, or a fraction of 1 of at least 0.0001"),
        ("gpus_per_worker", 0.00001, "a whole number, or a fraction of 1 of at least 0.0001"),
        ("working_dir", 3, "text or None"),
        ("download", "yes", "True or False"),
    ],
)
def test_values_are_checked_by_the_object(name: str, value: object, allowed: str) -> None:
    with pytest.raises(CampaignError, match=f"^{name}: must be {allowed}.*, got "):
        RunOptions(**{"runner": "ray", name: value})  # type: ignore[arg-type]


def test_the_limit_of_a_target_is_that_of_estimates() -> None:
    assert option_info(RunOptions, "until_se").least == SMALLEST_TARGET

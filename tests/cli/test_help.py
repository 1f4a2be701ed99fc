"""What a newcomer meets: help with examples that work, and suggestions where something was misspelt."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli.app import app
from workers.campaign.suggest import closest
from workers.campaign.yaml_io import parse_campaign
from workers.errors import CampaignError


def call(*words: str) -> tuple[int, str, BaseException | None]:
    """(exit code, output on one line, error) of `longtail WORDS`, in this process."""
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"}, prog_name="longtail")
    return done.exit_code, " ".join(done.output.split()), done.exception


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*before, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))


PANELS = ("Start", "Train", "Estimate", "Assess estimates", "Find noisy labels and cheap scores", "Maintain stores")
COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_that_parses(words: tuple[str, ...]) -> None:
    code, shown, _ = call(*words, "--help")
    examples = re.findall(r"Example: (longtail .*)", COMMANDS[words].help)
    assert (code, len(examples)) == (0, 1)
    assert f"Example: {examples[0]}" in shown
    first, *given = shlex.split(examples[0])
    assert (first, tuple(given[: len(words)])) == ("longtail", words)
    if hasattr(COMMANDS[words], "commands"):
        assert call(*given)[0] == 0
    else:
        COMMANDS[words].make_context("longtail", given[len(words) :])


def test_help_shows_every_command_in_a_panel_and_the_exit_codes() -> None:
    code, shown, _ = call("--help")
    assert code == 0
    places = [shown.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in shown, "a command stands in no panel"
    assert "0 all done; 1 something failed or is damaged; 2 a mistake" in shown
    assert "130 interrupted" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("estmate", "No such command 'estmate'. Did you mean 'estimate'?"),
        ("RUN", "No such command 'RUN'. Did you mean 'run'?"),
        ("nonsense", "No such command 'nonsense'. │"),
        ("import heldot", "No such command 'heldot'. Did you mean 'heldout'?"),
        ("--versio", "No such option: --versio. Did you mean '--version'?"),
        ("run c.yaml --stor s", "No such option: --stor. Did you mean '--store'?"),
        ("run c.yaml --stor=s", "No such option: --stor. Did you mean '--store'?"),
        ("import heldout d --label l", "No such option: --label. Did you mean '--labels'?"),
        ("run c.yaml --xyz s", "No such option: --xyz. │"),
        ("run c.yaml -s s --runner rey", "'--runner': must be one of auto, local, ray, got 'rey'. Did you mean 'ray'?"),
        ("run c.yaml -s s --runner slurm", "'--runner': must be one of auto, local, ray, got 'slurm'. │"),
    ],
)
def test_misspelt_words_of_a_command(words: str, told: str) -> None:
    code, shown, _ = call(*words.split())
    assert code == 2
    assert told in shown


@pytest.mark.parametrize(
    ("preset", "end"),
    [
        ("mnist-cscor", "got 'mnist-cscor' (did you mean mnist-cscore?)"),
        ("cifar10", "got 'cifar10' (did you mean cifar10-fast?)"),
        ("imagenet", "got 'imagenet' (did you mean imagenet-influence?)"),
        ("resnet9", "got 'resnet9'"),
        ("mnist", "got 'mnist'"),
        ("nonsense", "got 'nonsense'"),
    ],
)
def test_misspelt_presets(preset: str, end: str) -> None:
    _, _, error = call("init", preset)
    assert isinstance(error, CampaignError)
    assert str(error).endswith(end)


@pytest.mark.parametrize(
    ("recipe", "rest", "line"),
    [
        ("epoch: 2", "", "recipe.epoch: unknown field (did you mean epochs?), got 2"),
        (
            "learning_rate: 1.0",
            "",
            "recipe.learning_rate: unknown field (did you mean recipe.optimizer.learning_rate?), got 1.0",
        ),
        (
            "precision: bfloat",
            "",
            "recipe.precision: must be 'float32', 'tf32', 'bfloat16' or 'auto', got 'bfloat' (did you mean bfloat16?)",
        ),
        (
            "precision: nonsense",
            "",
            "recipe.precision: must be 'float32', 'tf32', 'bfloat16' or 'auto', got 'nonsense'",
        ),
        (
            "optimizer: {name: adamax}",
            "",
            "recipe.optimizer.name: must be sgd, adam, adamw, muon, got 'adamax' (did you mean adam?)",
        ),
        (
            "drop_last: true",
            "model: {name: resent18}",
            "model.name: must be mlp, small-cnn, mnist-cnn, resnet9, airbench, resnet18, resnet50, "
            "wide-resnet, densenet, inception, vit, vit-small-data or package.module:function, "
            "got 'resent18' (did you mean resnet18?)",
        ),
        (
            "drop_last: true",
            "epochs: 3",
            "epochs: unknown field (did you mean recipe.epochs or recipe.curriculum.epochs or record.epochs?), got 3",
        ),
        (
            "drop_last: true",
            "model: {name: mlp, dropout: 0.1}",
            "model.dropout: unknown field (did you mean stage_dropout?), got 0.1",
        ),
        (
            "drop_last: true",
            "record: {epochs: fianl}",
            "record.epochs: must be 'final' or 'all' or must be a valid integer, got 'fianl' (did you mean final?)",
        ),
    ],
)
def test_misspelt_fields_and_choices_of_a_campaign(recipe: str, rest: str, line: str) -> None:
    text = f"recipe: {{epochs: 2, batch_size: 4, {recipe}}}\nsubsets: {{ratios: [0.5], repetitions: 2}}\n{rest}"
    with pytest.raises(CampaignError) as raised:
        parse_campaign(text, "file")
    assert str(raised.value) == f"file: {line}"


@pytest.mark.parametrize("given", ["", "x", "zzzzzz", "reporter of news", "\n", "é", "'" * 10_000])
def test_nonsense_gets_no_suggestion(given: str) -> None:
    assert closest(given, ["estimate", "epochs", "run", "name"]) is None

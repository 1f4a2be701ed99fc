"""The tables of the documentation have what the code has: commands, data sets, models, recipes, variables, files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from orchestrator import run_campaign
from orchestrator.cli.app import app
from tests.cli.test_help import COMMANDS
from tests.conftest import small_campaign
from tests.documentation import DOCS, ROOT
from workers.campaign.dataset_spec import DATASET_NAMES, DatasetSpec
from workers.campaign.model_spec import MODEL_NAMES, ModelSpec
from workers.campaign.recipe import Augmentation, Initialization, Lookahead, Optimizer, Recipe, Schedule
from workers.campaign.yaml_io import dump_campaign, parse_campaign, parse_mapping

INTERNAL = {
    *("CUBLAS_WORKSPACE_CONFIG", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_USAGE_STATS_ENABLED"),
    *("RAY_AIR_NEW_OUTPUT", "RAY_CHDIR_TO_TRIAL_DIR", "RAY_DEDUP_LOGS_SKIP_REGEX"),
}
"""Variables that Longtail sets itself, for torch and Ray."""


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text()


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the Markdown tables, without their heads."""
    for line in re.findall(r"^\|(?! ---)(.*)\|\n(?!\| ---)", text, flags=re.MULTILINE):
        yield [cell.strip() for cell in line.split(" | ")]


def names(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def kinds(union: Any) -> Iterator[type[BaseModel]]:
    """The classes of a discriminated union."""
    for part in get_args(get_args(union)[0]):
        yield get_args(part)[0] if get_args(part) else part


def test_the_page_of_commands_lists_them_as_help_does() -> None:
    """Every command, in the order of the panels, with its first line and its example."""
    expected: dict[str, list[list[str]]] = {}
    for words, command in COMMANDS.items():
        if not hasattr(command, "commands"):
            panel = COMMANDS[words[:1]].rich_help_panel
            first = " ".join(command.help.split("\n\n")[0].split())
            (example,) = re.findall(r"Example: (longtail .*)", command.help)
            expected.setdefault(panel, []).append([f"`{' '.join(words)}`", f"{first}<br>`{example}`"])
    parts = re.split(r"^### (.*)\n", page("commands.md").partition("A misspelt command")[0], flags=re.MULTILINE)[1:]
    assert {panel: list(rows(text)) for panel, text in zip(parts[::2], parts[1::2], strict=True)} == expected
    assert parts[::2] == list(expected)


def test_exit_codes_are_those_of_help() -> None:
    _, _, told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output.partition("Exit codes:")
    table = page("commands.md").partition("## Exit codes")[2].partition("\n## ")[0]
    assert [row[0] for row in rows(table)] == re.findall(r"\b(\d+) [a-z]", told)


def test_every_variable_that_is_read_is_on_the_page() -> None:
    sources = [path for name in ("workers", "orchestrator", "analysis") for path in (ROOT / name).rglob("*.py")]
    read = {
        name for path in sources for name in re.findall(r'"((?:LONGTAIL|RAY|AWS|CUBLAS)_[A-Z_\d]+)"', path.read_text())
    }
    assert read >= INTERNAL
    table = page("commands.md").partition("## Environment variables")[2].partition("\n## ")[0]
    told = {name for row in rows(table) for name in names(row[0])}
    assert read - INTERNAL == {name for name in told if name in read}


def test_data_sets_and_their_fields() -> None:
    fields = {field for kind in kinds(DatasetSpec) for field in kind.model_fields}
    assert [word for word in (*DATASET_NAMES, *fields) if not re.search(rf"\b{word}\b", page("data.md"))] == []


def told_defaults(cell: str) -> dict[str, Any]:
    """`field: value` in a cell, read as a campaign file is."""
    return {key: value for text in names(cell) if ": " in text for key, value in parse_mapping(text, cell, "").items()}


def defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Fields with plain defaults, and these; not the name."""
    plain = {name: field.get_default(call_default_factory=True) for name, field in kind.model_fields.items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in plain.items()
        if name not in ("name", "stage_dropout")
        and not kind.model_fields[name].is_required()
        and not isinstance(value, BaseModel | dict)
    }


def test_models_and_what_their_options_are_when_left_out() -> None:
    table = page("models.md").partition("## Built-in models")[2].partition("\n## ")[0]
    told = {name: told_defaults(row[2]) for row in rows(table) for name in names(row[0])}
    built_in = [kind for kind in kinds(ModelSpec) if "options" not in kind.model_fields]
    expected = {name: defaults(kind) for kind in built_in for name in get_args(kind.model_fields["name"].annotation)}
    assert told == expected
    assert set(told) == set(MODEL_NAMES)


def test_fields_of_the_recipe_and_what_they_are_when_left_out() -> None:
    text = page("models.md").partition("## The recipe")[2]
    first, second = re.split(r"(?=\n\| part)", text)
    whole = [row[0] for row in rows(first)]
    assert {name.partition(":")[0] for cell in whole for name in names(cell)} == set(Recipe.model_fields)
    assert told_defaults(" ".join(whole)) == defaults(Recipe)
    told = {names(row[0])[0]: (told_defaults(row[1]), row[1]) for row in rows(second) if names(row[0])}
    parts: dict[str, type[BaseModel]] = {"initialization": Initialization, "augmentation": Augmentation}
    parts["lookahead"] = Lookahead
    parts |= {
        get_args(kind.model_fields["name"].annotation)[0]: kind
        for each in (Optimizer, Schedule)
        for kind in kinds(each)
    }
    assert {name: said for name, (said, _) in told.items()} == {name: defaults(kind) for name, kind in parts.items()}
    for name, kind in parts.items():
        assert all(field in told[name][1] for field in kind.model_fields if field != "name"), name


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of which every estimate can be made."""
    folder = tmp_path_factory.mktemp("reference") / "s"
    run_campaign(
        small_campaign(
            recipe={"epochs": 4, "batch_size": 64},
            subsets={"ratios": [0.5, 0.7], "repetitions": 16},
            label_noise={"fraction": 0.1},
            record={"presentations": True, "probabilities": True, "margins": True, "outputs": ["loss"]},
        ),
        folder,
    )
    return folder


OPTIONS = {
    "datamodels": ["--ratio", "0.7", "--tests", "0-4", "--heldout", "0.3"],
    "influence": ["--ratio", "0.7"],
    "group-influence": ["--ratio", "0.7"],
    "compare": ["--ratio", "0.7"],
    "audit": ["--ratio", "0.7"],
}


@pytest.mark.slow
def test_files_that_commands_write(store: Path, tmp_path: Path) -> None:
    """Each command writes into estimates/ what its row says, and those without a row write nothing there."""
    text = page("commands.md")
    table = text[text.index("| command | writes in `estimates/` |") :]
    told = {names(row[0])[0]: set(re.findall(r"[a-z_]+\.parquet", row[1])) for row in rows(table)}
    silent = names(re.findall(r"^(`influence`.*) print, ", text, flags=re.MULTILINE)[0])
    explicit = {"removal": removal_store(store, tmp_path), "localize": probed_store(tmp_path)}
    tests = tmp_path / "tests.csv"
    tests.write_text("test_example_id\n0\n")
    for command in [*told, *silent]:
        given = explicit.get(command, store)
        before = {path: path.stat().st_mtime_ns for path in (given / "estimates").glob("*")}
        more = [str(given)] * (command == "compare") + OPTIONS.get(command, [])
        more += ["--scores", str(store), "--scores-ratio", "0.5"] * (command == "localize")
        more += ["--test-examples", str(tests)] * (command == "removal")
        done = CliRunner().invoke(app, [command, str(given), *more], catch_exceptions=False)
        assert done.exit_code == 0, (command, done.output)
        after = {path: path.stat().st_mtime_ns for path in (given / "estimates").glob("*")}
        assert {path.name for path, when in after.items() if before.get(path) != when} == told.get(command, set()), (
            command
        )


def probed_store(folder: Path) -> Path:
    """A store with every probe."""
    every = {
        "gradients": True,
        "rewinding": {},
        "retraining": {"epochs": 1},
        "neurons": {"examples": 4},
        "dropout": True,
    }
    model = {"name": "mlp", "hidden": [16], "stage_dropout": {"name": "example-tied"}}
    parts = {"model": model, "label_noise": {"fraction": 0.1}, "record": {"probes": every}}
    run_campaign(small_campaign(subsets={"ratios": [0.7], "repetitions": 1}, **parts), folder / "probed")
    return folder / "probed"


def removal_store(store: Path, folder: Path) -> Path:
    """A store with explicit subsets, by the memorization of another."""
    from analysis import write_estimates
    from workers.store import Store

    write_estimates(Store.open(store))
    scores = {"file": str(store / "estimates" / "memorization.parquet"), "column": "mem", "ratio": 0.7}
    drop = {"design": "explicit", "ratios": [0.7], "repetitions": 2, "scores": scores, "drop": ["highest", "random"]}
    run_campaign(parse_campaign(dump_campaign(small_campaign(subsets=drop))), folder / "removal")
    return folder / "removal"

"""Exit codes: 2 where the command or the campaign file must be changed, 1 where something failed, by every command."""

import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator import run_campaign
from orchestrator.cli.app import app
from orchestrator.cli.exit_codes import exit_code_of
from tests.command import without_progress
from tests.conftest import small_campaign
from tests.stores import new_store, results
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import dump_campaign
from workers.errors import DataError, LongtailError

MODEL, DATA = "user_code:dropout_model", "user_code:blobs"

CAMPAIGNS: dict[str, tuple[int, dict[str, object], str]] = {
    "a misspelt field": (2, {"recipe": {"epochs": 1, "batch_sise": 8}}, "recipe.batch_sise"),
    "a misspelt model": (2, {"model": {"name": "mpl"}}, "model.name"),
    "a misspelt model function": (2, {"model": {"name": "user_code:drop"}}, "has no drop"),
    "a model function's missing option": (2, {"model": {"name": MODEL}}, "options: width must be given"),
    "an option that it does not take": (2, {"model": {"name": MODEL, "options": {"wide": 1}}}, "did you mean width?"),
    "a model that does not fit": (2, {"model": {"name": "resnet9"}}, "at least 11 x 11"),
    "a misspelt data function": (2, {"dataset": {"name": "user_code:blob"}}, "did you mean blobs?"),
    "a data function's module": (2, {"dataset": {"name": "no_code:load"}}, "no module named no_code"),
    "a data function's option": (2, {"dataset": {"name": DATA, "options": {"sed": 1}}}, "did you mean seed?"),
    "a function that is no data function": (2, {"dataset": {"name": "user_code:noted"}}, "options: images, log"),
    "a missing folder": (2, {"dataset": {"name": "image-folder", "root": "/no/folder"}}, "/no/folder"),
    "missing files": (2, {"dataset": {"name": "mnist", "root": "/no/mnist", "download": False}}, "/no/mnist"),
    "a missing Parquet file": (2, {"dataset": {"name": "parquet", "train": "/no/a.parquet"}}, "/no/a.parquet"),
    "a damaged Parquet file": (1, {"dataset": {"name": "parquet", "train": "DAMAGED"}}, "damaged.parquet"),
    "an empty subset": (2, {"subsets": {"ratios": [0.0005], "repetitions": 1}}, "is an empty subset"),
    "data that raise": (1, {"dataset": {"name": "user_code:raising_data"}}, "FileNotFoundError: the user's data"),
    "data that exit": (
        1,
        {"dataset": {"name": "user_code:ending_data", "options": {"kind": "exit"}}},
        "sys.exit(0)",
    ),
}
"""Exit code, part of the campaign, and what is said."""

COMMANDS: dict[str, tuple[int, str]] = {
    "run CAMPAIGN --store s --repetitions 0": (2, "--repetitions"),
    "run CAMPAIGN --store s --runner local --workers 2": (
        2,
        "workers: need runner ray (--runner ray), got runner local",
    ),
    "run CAMPAIGN --store s --checkpoint-minutes x": (2, "--checkpoint-minutes"),
    "run CAMPAIGN --store s --until-se 0": (2, "--until-se"),
    "run CAMPAIGN --store s --runner ray --gpus-per-worker 1.5": (2, "gpus_per_worker"),
    "run CAMPAIGN --store s --runner ray --gpus-per-worker 0 --device cuda": (2, "gpus_per_worker: must be above 0"),
    "run CAMPAIGN --store s --runner ray --address localhost:99999": (2, "1 to 65535"),
    "run CAMPAIGN --store s --runner ray --address localhost:1": (1, "no Ray cluster"),
    "run CAMPAIGN --store STORE": (2, "the store has"),
    "run CAMPAIGN --store FULL": (2, "is not empty and not a Longtail store"),
    "run CAMPAIGN --store ''": (2, "store: must be a path or a URI"),
    "run CAMPAIGN --store /proc/nothing/s": (1, "/proc/nothing/s"),
    "plan /no/file.yaml": (2, "/no/file.yaml: cannot be read"),
    "plan CAMPAIGN --store STORE": (2, "the store has"),
    "submit CAMPAIGN --store s --address host": (2, "must be http://HOST:PORT"),
    "submit CAMPAIGN --store s --address http://localhost:1": (1, "no Ray dashboard"),
    "submit CAMPAIGN --store s --address http://localhost:1 --working-dir /no/folder": (2, "--working-dir"),
    "tune CAMPAIGN -o /no/folder/t.yaml": (2, "there is no folder"),
    "tune CAMPAIGN -o t.yaml --space /no/space.yaml": (2, "/no/space.yaml"),
    "tune CAMPAIGN -o t.yaml --cost money": (2, "--cost"),
    "status /no/store": (2, "is not a Longtail store"),
    "verify /no/store": (2, "is not a Longtail store"),
    "compact /no/store": (2, "is not a Longtail store"),
    "estimate /no/store": (2, "is not a Longtail store"),
    "density /no/store": (2, "is not a Longtail store"),
    "estimate EMPTY": (1, "has no committed run"),
    "density EMPTY": (1, "has no committed run"),
    "density STORE --models 9": (2, "models must be 1 to 2"),
    "influence STORE --ratio 0.3": (2, "ratio must be one of"),
    "influence STORE --fdr 2": (2, "--fdr"),
    "influence STORE --same-class": (2, "--same-class needs --threshold or --fdr"),
    "influence STORE --matrix m -o p.csv": (2, "--output is not for --matrix"),
    "influence STORE -o p.xls": (2, "must end with"),
    "influence STORE -o /no/folder/p.csv": (2, "there is no folder"),
    "report STORE -o r.pdf": (2, "must end with .html"),
    "datamodels STORE": (1, "need at least 5 held-out runs"),
    "removal STORE": (2, "subsets.design must be explicit"),
    "noise STORE": (2, "has no noisy label"),
    "suspects STORE --by luck": (2, "--by"),
    "compare STORE /no/scores.npz --estimate cscore": (2, "/no/scores.npz"),
    "compare STORE NOT_NPZ --estimate cscore": (1, "is not a whole .npz file"),
    "import heldout /no/experiment --store i --labels LABELS": (2, "/no/experiment"),
    "status DAMAGED_STORE": (1, "is damaged"),
    "verify DAMAGED_STORE": (1, "is damaged"),
    "init digit": (2, "preset: must be one of digits"),
    "run CAMPAIGN": (2, "Missing option '--store'"),
    "run CAMPAIGN --store s --gpus-per-worker nan": (2, ""),
    "verify CAMPAIGN": (2, "is a file, not the folder of a store"),
    "status CAMPAIGN --watch": (2, "is a file, not the folder of a store"),
    "run CAMPAIGN --store CAMPAIGN": (2, "is a file, not the folder of a store"),
    "status STORE --every 5": (2, "--every is for --watch"),
    "nonsense": (2, "No such command"),
}


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """(exit code, standard error) of `longtail WORDS`, in this process."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["longtail", *map(str, words)])
    code = exit_code_of(app)
    return code, " ".join(without_progress(capsys.readouterr().err).split())


@pytest.mark.parametrize("mistake", CAMPAIGNS)
def test_campaigns(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same code and words from plan and run, and nothing is written."""
    expected, parts, message = CAMPAIGNS[mistake]
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    text = "".join(f"{name}: {value!r}\n" for name, value in {**DOCUMENT, **parts}.items())
    (tmp_path / "c.yaml").write_text(text.replace("DAMAGED", str(tmp_path / "damaged.parquet")))
    for words in (["plan", tmp_path / "c.yaml"], ["run", tmp_path / "c.yaml", "--store", tmp_path / "s"]):
        code, error = call(monkeypatch, capsys, *words)
        assert code == expected, error
        assert message in error
    assert not (tmp_path / "s").exists()


DOCUMENT: dict[str, object] = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [8]},
    "recipe": {"epochs": 1, "batch_size": 64},
    "subsets": {"ratios": [0.5], "repetitions": 2},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores and files in all kinds of states."""
    root = tmp_path_factory.mktemp("places")
    path = {
        name: root / name.lower()
        for name in ("STORE", "EMPTY", "DAMAGED_STORE", "FULL", "CAMPAIGN", "NOT_NPZ", "LABELS")
    }
    path["CAMPAIGN"].write_text(dump_campaign(small_campaign()))
    store = small_campaign(recipe={"epochs": 1, "batch_size": 64}, subsets={"ratios": [0.5], "repetitions": 2})
    run_campaign(store, path["STORE"])
    new_store(path["EMPTY"])
    damaged = new_store(path["DAMAGED_STORE"])
    damaged.commit(Shard(500_000, 0, 2), results(Shard(500_000, 0, 2)))
    victim = path["DAMAGED_STORE"] / "results" / "r500000-000000-000002.parquet"
    victim.write_bytes(b"PAR1" + victim.read_bytes()[4:-4])
    path["FULL"].mkdir()
    (path["FULL"] / "mine.txt").touch()
    path["NOT_NPZ"] = root / "scores.npz"
    path["NOT_NPZ"].write_bytes(b"PK and no more")
    path["LABELS"] = root / "labels.npz"
    np.savez(path["LABELS"], train=np.zeros(3, int), test=np.zeros(3, int))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: str,
    places: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected, message = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    words = ["" if word == "''" else str(places.get(word, word)) for word in command.split()]
    code, error = call(monkeypatch, capsys, *words)
    assert code == expected, error
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_every_error_has_a_code() -> None:
    def kinds(kind: type[LongtailError]) -> set[type[LongtailError]]:
        return {kind, *(each for child in kind.__subclasses__() for each in kinds(child))}

    assert {kind.exit_code for kind in kinds(LongtailError)} == {1, 2}
    assert DataError("x").exit_code == 2


@pytest.mark.slow
def test_what_is_ignored_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"recipe": {"epochs": 1, "batch_size": 800}, "subsets": {"ratios": [0.5, 0.1], "repetitions": 2}}
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign(**parts)))
    words = ["run", tmp_path / "c.yaml", "--store", tmp_path / "s", "--runner", "local", "--shard-size"]
    large = (
        "note: recipe.batch_size 800 is more than the 718 examples of a subset (at ratio 0.5, 0.1): "
        "an epoch is one update, on all of them"
    )
    assert call(monkeypatch, capsys, "plan", tmp_path / "c.yaml") == (0, large)
    assert call(monkeypatch, capsys, *words, 2) == (0, large)
    size = "note: shards of 1 run were requested: the store keeps its size, 2, which was fixed when it was made"
    assert call(monkeypatch, capsys, *words, 1) == (0, f"{large} {size}")
    assert call(monkeypatch, capsys, *words, 2) == (0, large)

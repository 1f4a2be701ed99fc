"""What `longtail` says and how it ends when runs cannot be used, files are gone, or a store may only be read."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.conftest import small_campaign
from tests.stores import examples, header, results
from tests.synthetic import make_store
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import dump_campaign
from workers.common.whole_file import replace_file
from workers.errors import LongtailError, ReadOnlyError, StoreError
from workers.store import Store
from workers.store.files.local import LocalFiles


def call(*words: object) -> tuple[int, str]:
    """(exit code, all output) of `longtail WORDS`; an error's text is its line."""
    ended = CliRunner().invoke(app, [str(word) for word in words])
    error = ended.exception
    return ended.exit_code, ended.output + ("" if error is None or isinstance(error, SystemExit) else f"error: {error}")


def made(path: Path, **options: Any) -> Store:
    random = np.random.default_rng(0)
    subsets, train, test = (random.random((30, size)) < 0.5 for size in (40, 40, 12))
    return make_store(path, subsets, train, test, ratio=0.5, **options)


@pytest.mark.parametrize("command", ["suspects", "estimate", "profiles", "proxies", "influence", "reliability"])
def test_that_all_runs_diverged_is_said_first(command: str, tmp_path: Path) -> None:
    store = made(tmp_path / "s", diverged=range(30))
    code, output = call(command, store.uri)
    assert code == 1
    assert "diverged" in output.splitlines()[-1]


def test_a_run_in_which_all_diverged_ends_with_1(tmp_path: Path) -> None:
    optimizer = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}
    recipe = {"epochs": 3, "batch_size": 64, "optimizer": optimizer}
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign(model={"name": "mlp", "hidden": [8]}, recipe=recipe)))
    code, output = call("run", tmp_path / "c.yaml", "--store", tmp_path / "s")
    assert code == 1
    assert "3 of 3 at ratio 0.2, 3 of 3 at ratio 0.6" in output
    assert "a lower learning rate (recipe.optimizer.learning_rate, now 1e+06), warm-up" in output
    assert "next: " not in output


@pytest.mark.slow
def test_less_can_be_asked_for_and_what_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign()))
    run = ("run", tmp_path / "c.yaml", "--store", tmp_path / "s")
    assert call(*run)[0] == 0
    Store.open(tmp_path / "s").add_target(
        small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 1_000_000}).subsets
    )
    assert "6 of 2,000,000 runs" in call("status", tmp_path / "s")[1]
    code, output = call(*run, "--repetitions", 2)
    assert (code, "the store holds more runs than were requested: 3 at ratio 0.2, of 2 requested" in output) == (
        0,
        True,
    )
    assert "4 of 4 runs (and 2 more than were requested)" in call("status", tmp_path / "s")[1]
    next((tmp_path / "s" / "results").glob("r6*")).write_bytes(b"PAR1")
    code, output = call(*run)
    assert (code, "3 of 6 runs in" in output, "next: " in output) == (1, True, False)
    cure = f"longtail verify {tmp_path}/s --repair, then the same longtail run trains them"
    assert f"error: 3 runs that had been committed are gone or damaged; {cure}" in output


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose disk refuses every write: root, who runs these tests, is not stopped by permissions."""
    store = made(tmp_path / "s")

    def refuse(files: LocalFiles, path: str, *rest: object) -> None:
        if files.uri == store.uri:
            raise ReadOnlyError(f"{files.location(path)}: Read-only file system")
        written(files, path, *rest)

    written: Callable[..., None] = LocalFiles.replace
    monkeypatch.setattr(LocalFiles, "replace", refuse)

    def check(files: LocalFiles, folder: str) -> None:
        if files.uri == store.uri:
            raise ReadOnlyError(f"{files.uri}: is read-only")

    monkeypatch.setattr(LocalFiles, "check_writable", check)
    return store


@pytest.mark.slow
@pytest.mark.parametrize("command", ["suspects", "profiles", "datamodels"])
def test_a_store_that_may_only_be_read(command: str, read_only: Store, tmp_path: Path) -> None:
    code, output = call(command, read_only.uri)
    assert code == 0, output
    assert "not kept, the store cannot be written" in output
    assert "-o FILE writes it elsewhere" in output
    code, output = call(command, read_only.uri, "-o", tmp_path / "mine.parquet")
    assert (code, "not kept" in output, (tmp_path / "mine.parquet").exists()) == (0, False, True)


@pytest.mark.slow
def test_estimates_of_a_store_that_may_only_be_read(read_only: Store, tmp_path: Path) -> None:
    code, output = call("estimate", read_only.uri)
    assert (code, output) == (1, f"error: {read_only.uri}: is read-only: -o FOLDER writes the estimates elsewhere")
    assert call("estimate", read_only.uri, "-o", tmp_path / "mine")[0] == 0
    ours = made(tmp_path / "writable")
    assert call("estimate", ours.uri)[0] == 0
    for path in (tmp_path / "writable" / "estimates").iterdir():
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_file_or_a_link_in_place_of_estimates(tmp_path: Path) -> None:
    """It hinders no reader; what cannot be kept there is printed, and -o writes it."""
    store = made(tmp_path / "s")
    place = tmp_path / "s" / "estimates"
    for put, problem in (
        (lambda: place.touch(), "is a file, not a folder"),
        (lambda: place.symlink_to(tmp_path / "nowhere"), "is a link that leads out of the store: nothing is written"),
    ):
        put()
        code, output = call("suspects", store.uri)
        assert code == 0 and f"table: not kept, the store cannot be written ({place}: {problem}" in output
        assert call("suspects", store.uri, "-o", tmp_path / "mine.csv")[0] == 0
        assert call("report", store.uri, "-o", tmp_path / "r.html")[0] == 0
        code, output = call("estimate", store.uri)
        assert (code, len(output.splitlines())) == (1, 1)
        assert output.startswith(f"error: {place}: {problem}") and "-o FOLDER writes the estimates" in output
        assert call("estimate", store.uri, "-o", tmp_path / "estimates")[0] == 0
        place.unlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_place_that_refuses_to_be_written_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only disk, where what was begun cannot be removed either: no traceback, and no hour lost."""
    store, place = made(tmp_path / "s"), tmp_path / "place"
    place.mkdir()

    def refuse(path: Path, *rest: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    for command, option, ending in (
        *((name, "-o", "csv") for name in ("suspects", "density", "influence")),
        ("report", "-o", "html"),
        ("profiles", "--plot", "png"),
    ):
        path = place / f"mine.{ending}"
        code, output = call(command, store.uri, option, path)
        assert (code, output) == (1, f"error: {path}: cannot be written: Read-only file system")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(LongtailError, match="cannot be written: Read-only file system"):
        replace_file(place / "mine.csv", lambda unfinished: unfinished.write_text(""))


def test_noisy_labels_are_drawn_again_by_the_same_numpy_alone(tmp_path: Path) -> None:
    campaign = small_campaign(label_noise={"fraction": 0.2})
    old = header(campaign).model_copy(update={"versions": {"numpy": "1.0"}})
    new = header(campaign).model_copy(update={"versions": {"numpy": "2.0"}})
    store = Store.create(tmp_path / "s", old, examples())
    (tmp_path / "s" / "examples.parquet").unlink()
    assert Store.create(tmp_path / "s", new, examples()).rewritten, "no run has seen them yet"
    shard = Shard(500_000, 0, 2)
    store.commit(shard, [replace(each, epochs=each.epochs[-1:]) for each in results(shard)])
    (tmp_path / "s" / "examples.parquet").unlink()
    with pytest.raises(StoreError, match="is missing, and its noisy labels were drawn with NumPy 1.0"):
        Store.create(tmp_path / "s", new, examples())
    assert Store.create(tmp_path / "s", old, examples()).rewritten

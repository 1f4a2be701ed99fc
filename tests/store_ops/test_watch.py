"""`longtail status --watch`: from nothing to all runs, across compaction, damage and outages."""

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.isolation import ROOT, longtail
from orchestrator import run_campaign
from orchestrator.cli.app import app
from orchestrator.cli.watch import Watch, watch_store
from orchestrator.store_ops.status import campaign_status
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.stores import examples, header, new_store, results
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.errors import DamagedFileError, StoreError
from workers.store import Failure, RunResult, Store

HALF = 500_000
SAME = "the same longtail run (or import)"


@pytest.fixture
def store(tmp_path: Path, small: Campaign) -> Store:
    """A store that aims at 8 runs at one ratio and has 4, in two shards; one is a diverged run."""
    store = new_store(tmp_path / "s")
    store.add_target(small.subsets.model_copy(update={"ratios": (0.5,), "repetitions": 8}))
    store.commit(Shard(HALF, 0, 2), results(Shard(HALF, 0, 2)))
    store.commit(Shard(HALF, 2, 4), diverged(Shard(HALF, 2, 4)))
    return store


def diverged(shard: Shard) -> list[RunResult]:
    first, *rest = results(shard)
    return [first.__class__(**{**vars(first), "status": "diverged"}), *rest]


def not_waiting(seconds: float) -> None:
    pytest.fail(f"waits {seconds} s")


def start(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    return subprocess.Popen(
        longtail("status", *words, "--watch", "--every", "0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_from_before_there_is_a_store_until_all_is_committed(small: Campaign, tmp_path: Path) -> None:
    with start(tmp_path / "s") as process:
        lines: Iterator[str] = iter(process.stdout or [])
        assert next(lines) == f"{tmp_path}/s: there is no store yet\n"
        run_campaign(small, tmp_path / "s")
        *_, last = lines
    assert last == "6 of 6 runs, 0 failed, 0 diverged (0.2: 3/3, 0.6: 3/3)\n"
    assert process.returncode == 0


@pytest.mark.slow
def test_ctrl_c_ends_it(store: Store) -> None:
    with start(store.uri) as process:
        lines: Iterator[str] = iter(process.stdout or [])
        assert next(lines).startswith("4 of 8 runs, 0 failed, ")
        process.send_signal(signal.SIGINT)
        assert all(line.startswith("4 of 8 runs, 0 failed, ") for line in lines)
    assert process.returncode == 130


def test_merged_files_are_no_new_runs(store: Store) -> None:
    watch = Watch(store.uri)
    assert watch.update(60).summary() == "4 of 8 runs, 0 failed, 1 diverged"
    merged = Shard(HALF, 0, 4)
    store.commit(merged, [*results(Shard(HALF, 0, 2)), *diverged(Shard(HALF, 2, 4))])
    assert watch.update(60).summary() == "4 of 8 runs, 0 failed, 1 diverged"
    for old in (Shard(HALF, 0, 2), Shard(HALF, 2, 4)):
        (Path(store.uri) / "results" / f"{old.shard_id}.parquet").unlink()
    assert watch.update(60).summary() == "4 of 8 runs, 0 failed, 1 diverged"


def test_files_are_read_once_and_in_time(store: Store) -> None:
    watch = Watch(store.uri)
    view = watch.update(-1)
    assert view.summary() == "4 of 8 runs, 0 failed, 0 diverged (of those read so far; 4 to read)"
    status = watch.update(60).status
    assert status is not None and status.unread == 0
    for path in Path(store.uri, "results").iterdir():
        path.write_bytes(b"no longer whole, and not read again")
    assert watch.update(60) == watch.update(60)
    status = Watch(store.uri).update(60).status
    assert status is not None and len(status.damaged) == 2


def test_failures_rate_and_outages_are_told(store: Store, tmp_path: Path) -> None:
    watch = Watch(store.uri)
    watch.update(60)
    store.commit(Shard(HALF, 4, 6), results(Shard(HALF, 4, 6)))
    store.record_failure(Failure(Shard(HALF, 6, 8).shard_id, 2, "message", "traceback"))
    view = watch.update(60)
    assert view.status is not None and (view.status.committed, view.status.failed) == (6, 2)
    assert view.rate is not None
    assert " left, 2 failed, 1 diverged" in view.summary()
    folder, elsewhere = Path(store.uri, "results"), tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.write_text("not a folder: as unreadable as a store that cannot be reached")
    away = watch.update(60)
    assert str(away.problem).startswith(f"temporarily unreadable: {folder}: is a file, not a folder (move it away, and")
    assert away.status is not None and (away.status.committed, away.finished) == (6, False)
    folder.unlink()
    elsewhere.rename(folder)
    assert watch.update(60).problem is None


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize("damage", [make_pipe, make_folder, make_dangling_link, lambda path: path.write_bytes(b"PAR1")])
def test_once_and_watched_say_the_same_of_damage(damage: Callable[[Path], object], store: Store) -> None:
    """And end: what is damaged is not waited for. Then it is set aside like any other."""
    store.commit(Shard(HALF, 4, 8), results(Shard(HALF, 4, 8)))
    victim = Path(store.uri, "results", f"{Shard(HALF, 0, 2).shard_id}.parquet")
    damage(victim)
    huge = Path(store.uri, "failures", f"{Shard(HALF, 8, 10).shard_id}.json")
    huge.parent.mkdir()
    huge.write_bytes(b"x" * (5 << 20))
    once, printed = campaign_status(store.uri), io.StringIO()
    watched = watch_store(store.uri, 60, Console(file=printed, width=500), not_waiting)
    assert repr(watched) == repr(once)
    assert (once.committed, once.requested, once.diverged, once.lost) == (6, 8, 1, 2)
    assert [str(error).partition(": ")[0] for error in once.damaged] == [str(victim), str(huge)]
    said = f"2 damaged files: longtail verify {store.uri} --repair, then longtail run"
    assert printed.getvalue() == f"6 of 8 runs, 0 failed, 1 diverged, {said}\n"
    for words in (["status", store.uri], ["status", store.uri, "--watch"]):
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 1
        assert f"damaged: {victim}: " in ended.output
    assert {finding.path for finding in verify_store(store.uri, repair=True)[1]} == {str(victim), str(huge)}
    assert campaign_status(store.uri).damaged == ()


def test_what_is_not_this_stores_is_not_counted(store: Store, tmp_path: Path) -> None:
    """Other seeds' results under this store's names, results under another name, and examples that are gone."""
    foreign = header(small_campaign(record={"epochs": "all"}, subsets={"ratios": [0.5], "repetitions": 8, "seed": 77}))
    other = Store.create(tmp_path / "o", foreign, examples())
    other.commit(Shard(HALF, 0, 2), results(Shard(HALF, 0, 2)))
    folder = Path(store.uri, "results")
    first, second = (folder / f"{Shard(HALF, *ends).shard_id}.parquet" for ends in ((0, 2), (2, 4)))
    second.write_bytes(first.read_bytes())
    first.write_bytes(Path(other.uri, "results", first.name).read_bytes())
    Path(store.uri, "examples.parquet").unlink()
    status = campaign_status(store.uri)
    assert (status.committed, status.lost) == (0, 4)
    said = [str(error).partition(" (")[0] for error in status.damaged]
    assert said == [
        f"{first}: belongs to another campaign",
        f"{second}: does not contain the runs in its name",
        f"{store.uri}/examples.parquet: is missing",
    ]
    assert repr(Watch(store.uri).update(60).status) == repr(status)
    with pytest.raises(DamagedFileError, match="belongs to another campaign"):
        list(store.scan(["repetition"]))


def test_on_a_terminal_it_is_repainted(store: Store) -> None:
    terminal = io.StringIO()

    def pause(seconds: float) -> None:
        shard = Shard(HALF, len(store.shards()) * 2, len(store.shards()) * 2 + 2)
        store.commit(shard, results(shard))

    watch_store(store.uri, 0.5, Console(file=terminal, force_terminal=True, width=100), pause)
    shown = terminal.getvalue()
    assert "4 of 8 runs, 0 failed, 1 diverged" in shown
    assert "8 of 8 runs, 0 failed, 1 diverged" in shown
    assert "\x1b[1A" in shown, "nothing was painted over"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [make_dangling_link, lambda path: path.write_text('{"repetitions":')])
def test_requests_that_cannot_be_read_are_not_waited_for(damage: Callable[[Path], object], store: Store) -> None:
    for path in (Path(store.uri) / "targets").iterdir():
        damage(path)
    with start(store.uri) as process:
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "0 of 0 runs (and 4 more than were requested)" in text
    assert "longtail verify" in text
    assert verify_store(store.uri)[1]


def test_requests_that_are_gone_are_not_waited_for(store: Store) -> None:
    shutil.rmtree(Path(store.uri, "targets"))
    watched = watch_store(store.uri, 60, Console(file=io.StringIO()), not_waiting)
    assert watched is not None and (watched.requested, watched.beyond) == (0, 4)
    told = CliRunner().invoke(app, ["status", store.uri])
    assert "note: the store has no request for runs (targets/)" in told.output


@pytest.mark.slow
def test_a_damaged_campaign_ends_it(store: Store) -> None:
    path = Path(store.uri) / "campaign.json"
    path.write_text(path.read_text()[:50])
    with start(store.uri) as process:
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "campaign.json: is damaged: Invalid JSON" in text
    assert "restore it from a copy" in text


def test_a_store_whose_runs_all_diverged_says_so(store: Store) -> None:
    assert "all committed runs diverged" not in CliRunner().invoke(app, ["status", store.uri]).output
    (Path(store.uri) / "results" / f"{Shard(HALF, 0, 2).shard_id}.parquet").unlink()
    (Path(store.uri) / "results" / f"{Shard(HALF, 2, 4).shard_id}.parquet").unlink()
    lost = [first.__class__(**{**vars(first), "status": "diverged"}) for first in results(Shard(HALF, 0, 2))]
    store.commit(Shard(HALF, 0, 2), lost)
    told = CliRunner().invoke(app, ["status", store.uri])
    assert "note: all committed runs diverged" in told.output and "a lower learning rate" in told.output


@pytest.mark.parametrize("folder", ["results", "targets", "failures"])
def test_a_file_in_place_of_a_folder_is_named(folder: str, store: Store) -> None:
    place = Path(store.uri, folder)
    if place.exists():
        place.rename(place.with_name("elsewhere"))
    place.write_text("")
    done = CliRunner().invoke(app, ["status", store.uri])
    assert isinstance(done.exception, StoreError)
    assert str(done.exception) == f"{place}: is a file, not a folder (move it away, and {SAME} makes the folder)"


def test_results_are_not_set_aside_for_another_campaigns_campaign_json(store: Store, tmp_path: Path) -> None:
    changed = small_campaign(record={"epochs": "all"}, recipe={"epochs": 7, "batch_size": 64})
    other = Store.create(str(tmp_path / "other"), header(changed), examples())
    shutil.copy(Path(other.uri, "campaign.json"), Path(store.uri, "campaign.json"))
    with pytest.raises(
        DamagedFileError, match="campaign.json: is of another campaign than all 2 files of results .rest"
    ):
        verify_store(store.uri, repair=True)
    assert len(list(Path(store.uri, "results").iterdir())) == 2

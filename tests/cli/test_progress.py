"""Long commands say how far they are and what their results rest on."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cli import progress
from orchestrator.cli.output import interruption
from orchestrator.cli.progress import reading_display, work_display
from orchestrator.cli.terminal import TextConsole
from tests.command import call
from tests.synthetic import Labelled, make_store, make_stores, random_runs
from workers.campaign.campaign import Subsets
from workers.store import Store

BASIS = {
    "estimate": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "report": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "memorization": "from 15 of 100 runs at ratio 0.7, 1 diverged left out",
    "cscore": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "influence --ratio 0.7": "pairs from 15 of 100 runs at ratio 0.7, the 5 with",
    "influence --ratio 0.7 --matrix MATRIX": "matrix, from 15 of 100 runs",
    "datamodels --ratio 0.7 --heldout 0.33": "ratio 0.7, from 15 of 100 runs: fitted to",
    "noise": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "suspects": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "profiles": "from 27 of 116 runs at 2 ratios, 1 diverged left out",
    "forgetting --at evaluations --ratio 0.7 --agreement": "shown to up to 14 of 100 runs",
    "reliability --splits 1 --ratio 0.7": "from 16 of 100 runs at ratio 0.7",
    "verify": "",
    "compact --grace 0": "",
}
"""What each command says of the runs that it read."""
STAGES = {"verify": "files checked", "compact": "files merged"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two ratios with 12 and 16 runs, one diverged, of which 100 are requested at 0.7; two epochs, noisy labels."""
    random = np.random.default_rng(5)
    bits = [(random.random((16, 24)) < 0.5, random.random((16, 6)) < 0.5)]
    runs = {
        0.3: random_runs(random, 12, 24, 6, 0.3, earlier=bits),
        0.7: random_runs(random, 16, 24, 6, 0.7, earlier=bits, diverged=[2]),
    }
    labels = Labelled([0] * 24, [1, 1, 1, *[0] * 21], [0] * 6)
    made = make_stores(tmp_path_factory.mktemp("progress") / "s", runs, labels, shard_size=4)
    made.add_target(Subsets(ratios=(0.3,), repetitions=16))
    made.add_target(Subsets(ratios=(0.7,), repetitions=100))
    return made.uri


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=[pytest.mark.slow] * (each == "report")) for each in BASIS]
)
def test_long_commands_tell_their_progress_and_their_basis(
    command: str, store: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STAGE_SECONDS", 0.0)
    name, *options = command.replace("MATRIX", f"{tmp_path}/matrix").split()
    options += ["-o", f"{tmp_path}/report.html"] if name == "report" else []
    code, output, errors = call(name, store, *options)
    assert code == 0, errors
    assert re.search(rf"^{STAGES.get(name, 'runs read')}: [\d,]+ of [\d,]+(, \d+:\d\d:\d\d left)?$", errors, re.M)
    assert BASIS[command] in output + errors


def test_two_stores_are_two_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass for the values and one for the replicates of each."""
    monkeypatch.setattr(progress, "STAGE_SECONDS", 0.0)
    bits = np.random.default_rng(0).random((12, 20)) < 0.5
    uri = make_store(tmp_path / "s", bits, bits, bits, shard_size=4).uri
    code, _, errors = call("compare", uri, uri)
    assert code == 0, errors
    stages = re.findall(r"^runs of store (\d) read: 8 of 12", errors, re.M)
    assert stages == ["1", "1", "2", "2"], errors


def test_short_work_has_no_lines(store: str) -> None:
    assert call("memorization", store)[::2] == (0, "")


def test_plain_lines_come_when_work_takes_long() -> None:
    console, now = TextConsole(file=io.StringIO()), iter([0.0, 1.0, 29.0, 31.0, 40.0, 62.0, 70.0, 100.0])
    show = progress._PlainStages(console, lambda: next(now))
    for what, done, total in (
        *(("runs read", 0, 4000), ("runs read", 900, 4000), ("runs read", 1000, 4000), ("runs read", 1100, 4000)),
        *(("blocks", 0, 8), ("blocks", 1, 8), ("blocks", 8, 8)),
    ):
        show(what, done, total)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "runs read: 1,000 of 4,000, 0:01:30 left",
        "blocks: 0 of 8",
    ]


def test_a_pass_that_begins_again_has_a_time_of_its_own() -> None:
    console, now = TextConsole(file=io.StringIO()), iter([0.0, 0.0, 10.0, 100.0, 140.0])
    show = progress._PlainStages(console, lambda: next(now))
    for done in (0, 100, 0, 50):
        show("runs read", done, 100 if done != 50 else 200)
    assert console.file.getvalue().splitlines()[-1] == "runs read: 50 of 200, 0:02:00 left"  # type: ignore[attr-defined]


def test_a_terminal_shows_bars_and_standard_output_stays_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    console = TextConsole(file=io.StringIO(), force_terminal=True, width=80)
    with work_display(console) as show:
        show("runs read", 3, 4)
        print("a result")
        show("runs read", 1, 4)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "runs read" in shown and "1/4" in shown
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in shown


@pytest.fixture
def interrupted() -> Iterator[None]:
    interruption.set()
    yield
    interruption.clear()


@pytest.mark.usefixtures("interrupted")
def test_an_interruption_ends_the_work(store: str) -> None:
    opened = Store.open(store)
    with reading_display(TextConsole(file=io.StringIO()), opened), pytest.raises(KeyboardInterrupt):
        list(opened.scan(("status",)))
    list(opened.scan(("status",)))  # nobody shows any more


def test_a_scan_counts_every_run_once(tmp_path: object) -> None:
    random = np.random.default_rng(0)
    runs = random_runs(random, 20, 8, 2)
    bits = (runs.subsets, runs.train, runs.test)
    made = make_store(f"{tmp_path}/s", *bits, shards=[(0, 8), (0, 12), (4, 12), (14, 20)])  # type: ignore[arg-type]
    seen: list[tuple[int, int]] = []
    made.on_read = lambda done, total: seen.append((done, total))
    assert sum(table.num_rows for _, table in made.scan(("status",))) == 18
    assert seen == sorted(seen)
    assert seen[-1] == (18, 18) and {total for _, total in seen} == {18}

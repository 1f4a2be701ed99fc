"""What a terminal shows while a campaign runs: progress, workers by node, and the precision so far."""

import io
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from analysis import count_runs
from orchestrator import run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.campaigns.se_monitor import BackgroundMonitor, StandardErrorMonitor
from orchestrator.campaigns.se_percentiles import SePercentiles, StandardErrors
from orchestrator.cli.live_view import LiveView
from orchestrator.cli.plain_lines import PlainLines
from orchestrator.cli.progress import campaign_display
from orchestrator.cli.throughput import Rate
from orchestrator.cli.watch import watch_store
from orchestrator.runners.ray.placement import Node, node_names
from tests.stores import NUM_TRAIN, new_store, results
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.store import Store

LOW, HIGH = 200_000, 600_000


def commit(store: Store, ratio_ppm: int, start: int, stop: int, diverged: int = 0) -> None:
    """Runs with random subsets and outcomes, the first of which diverged."""
    made = results(Shard(ratio_ppm, start, stop), seed=ratio_ppm)
    lost = [each.__class__(**{**vars(each), "status": "diverged"}) for each in made[:diverged]]
    store.commit(Shard(ratio_ppm, start, stop), [*lost, *made[diverged:]])


@pytest.fixture
def store(tmp_path: Path, small: Campaign) -> Store:
    """A store with 40 runs at one ratio and 20 at another, of which 2 diverged."""
    store = new_store(tmp_path / "s")
    store.add_target(small.subsets.model_copy(update={"ratios": (0.2, 0.6), "repetitions": 40}))
    commit(store, LOW, 0, 20)
    commit(store, LOW, 20, 40)
    commit(store, HIGH, 0, 20, diverged=2)
    return store


def smoothed(correct: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """The squared standard error of a mean under Jeffreys' prior, example after example."""
    pairs = zip(correct.tolist(), runs.tolist(), strict=True)
    return np.array([p * (1 - p) / n if n else np.inf for c, n in pairs for p in [(c + 0.5) / (n + 1)]])


def spread(runs: int, errors: np.ndarray) -> SePercentiles:
    ordered = sorted(errors)
    return SePercentiles(runs, ordered[-(-NUM_TRAIN // 2) - 1], ordered[-(-NUM_TRAIN * 9 // 10) - 1])


def reference(store: Store) -> StandardErrors:
    """By one pass over all runs, and the formulas written out."""
    ratios = count_runs(store).ratios
    out = [smoothed(ratio.correct_out, ratio.n_out) for ratio in ratios]
    mem = [np.sqrt(smoothed(ratio.correct_in, ratio.n_in) + each) for ratio, each in zip(ratios, out, strict=True)]
    spreads = {ratio.ratio_ppm: spread(ratio.runs, each) for ratio, each in zip(ratios, mem, strict=True)}
    if len(ratios) == 1:
        return StandardErrors(spreads)
    return StandardErrors(spreads, spread(sum(ratio.runs for ratio in ratios), np.sqrt(sum(out)) / len(ratios)))


def same(one: StandardErrors, other: StandardErrors) -> bool:
    def figures(precision: StandardErrors) -> list[float]:
        spreads = [*precision.mem.values(), *([precision.cscore] if precision.cscore else [])]
        return [figure for each in spreads for figure in (each.runs, each.median, each.most)]

    return list(one.mem) == list(other.mem) and np.allclose(figures(one), figures(other), rtol=1e-12)


def test_precision_is_that_of_all_runs_whatever_the_order_of_files(store: Store) -> None:
    monitor = StandardErrorMonitor(store)
    first = monitor.update(lambda: True)
    assert (list(first.mem), first.mem[LOW].runs, first.cscore, monitor.unread) == ([LOW], 20, None, 40)
    assert same(monitor.update(lambda: False), reference(store))
    assert monitor.unread == 0
    commit(store, LOW, 60, 80)
    monitor.update(lambda: False)
    commit(store, LOW, 40, 80)  # a wider file with runs that are counted, and others
    found = monitor.update(lambda: False)
    assert (found.mem[LOW].runs, found.mem[HIGH].runs, found.cscore and found.cscore.runs) == (80, 18, 98)
    assert same(found, reference(store))


def test_files_are_read_once_and_damaged_ones_left_out(store: Store) -> None:
    monitor = StandardErrorMonitor(store)
    before = monitor.update(lambda: False)
    for path in Path(store.uri, "results").iterdir():
        path.write_bytes(b"no longer whole, and not read again")
    assert monitor.update(lambda: False) == before
    assert StandardErrorMonitor(store).update(lambda: False) == StandardErrors({})


def test_nothing_is_certain_of_a_few_runs(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    commit(store, LOW, 0, 1)
    assert StandardErrorMonitor(store).update(lambda: False).mem == {LOW: SePercentiles(1, np.inf, np.inf)}


def shown(view: LiveView, width: int) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width)
    console.print(view)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_view_at_a_fixed_width() -> None:
    now = [100.0]
    rate = Rate(lambda: now[0])
    precision = StandardErrors(
        {LOW: SePercentiles(40, 0.0414, 0.1), HIGH: SePercentiles(120, np.inf, np.inf)},
        SePercentiles(160, 0.02, 0.0305),
    )
    view = LiveView(rate, lambda: precision)
    assert shown(view, 80) == ["runs  preparing"]
    view.progress = CampaignProgress(total=400, before=60, workers=7, nodes=2, by_node={"10.0.0.1": 4, "10.0.0.2": 3})
    rate.update(view.progress)
    now[0] = 110.0
    view.progress = replace(view.progress, trained=100, diverged=2, failed=40, workers_lost=1)
    assert shown(view, 80) == [
        "runs       ━━━━━━━━━━━━━━━━━━━━━━━                                    160 of 400",
        "pace       10.00 runs/s, 0:00:20 left; 40 failed, 2 diverged",
        "workers    7 on 2 nodes, 1 lost so far: 10.0.0.1 (4), 10.0.0.2 (3)",
        "precision  expected se of the median example, and what 90% do not exceed",
        "           mem at 0.2  0.041  0.100   mem at 0.6      -      -",
        "           C-score     0.020  0.030",
    ]
    view.progress = replace(view.progress, by_node={f"10.0.0.{number}": 1 for number in range(20)})
    assert shown(view, 300)[2].endswith("10.0.0.7 (1), and 12 more")
    view.progress = replace(view.progress, trained=300)
    assert shown(view, 120)[1] == "pace       30.00 runs/s, 0:00:10 in all; 40 failed, 2 diverged"
    assert all(len(line) <= 40 for line in shown(view, 40))
    view.progress = replace(view.progress, by_node={}, checked=3, to_check=40)
    assert shown(view, 80)[3] == "store      checking what is there: 3 of 40 files"
    view.progress = replace(view.progress, found=160)
    assert (shown(view, 80)[0].split()[-3:], len(shown(view, 80))) == (["160", "of", "400"], 6)


@pytest.mark.slow
def test_a_campaign_on_a_terminal(small: Campaign, tmp_path: Path) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100, color_system=None)
    with campaign_display(console, str(tmp_path / "s")) as display:
        run_campaign(small, tmp_path / "s", on_progress=display)
    text = terminal.getvalue()
    last = text[text.rindex("runs       ━") :]
    assert "6 of 6\n" in last
    assert re.search(r"pace       [0-9.]+ runs/s, 0:\d\d:\d\d in all; 0 failed, 0 diverged ", last)
    assert re.search(r"mem at 0.2  +[-0-9.]+  +[-0-9.]+\s", last)


@pytest.mark.slow
def test_elsewhere_lines_as_ever(small: Campaign, tmp_path: Path) -> None:
    lines = io.StringIO()
    with campaign_display(Console(file=lines, width=100), str(tmp_path / "s")) as display:
        run_campaign(small, tmp_path / "s", on_progress=display)
    assert re.fullmatch(
        r"0/6 runs, starting workers \(0 workers\)\n6/6 runs, [0-9.]+ runs/s, 0:00:00 left \(1 worker\)\n",
        lines.getvalue(),
    )


@pytest.mark.slow
def test_a_follower_measures_by_itself(store: Store) -> None:
    with BackgroundMonitor(store.uri) as follower:
        deadline = time.monotonic() + 60
        while follower.precision is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert same(follower.precision, reference(store))


def test_a_follower_leaves_alone_what_it_cannot_measure(store: Store, tmp_path: Path) -> None:
    for path in Path(store.uri, "results").iterdir():
        path.unlink()
    Path(store.uri, "results").rmdir()
    Path(store.uri, "results").write_text("not a folder: as unreadable as a store that cannot be reached")
    for uri in (store.uri, str(tmp_path / "nowhere"), "ftp://no.such.kind/of/store"):
        with BackgroundMonitor(uri) as follower:
            follower.finish()
            assert follower.precision is None


def test_status_watch_shows_the_precision_on_a_terminal(store: Store) -> None:
    terminal = io.StringIO()

    def pause(seconds: float) -> None:
        commit(store, HIGH, 20, 40)

    watch_store(store.uri, 60, Console(file=terminal, force_terminal=True, width=100, color_system=None), pause)
    *_, frame = terminal.getvalue().split(store.uri)
    rows = [line.split() for line in frame.splitlines()]
    found = reference(store)
    assert found.cscore is not None
    assert rows[1][4:] == ["median", "expected", "se", "90%", "expected", "se", "of", "runs"]
    for row, ratio_ppm in zip(rows[2:4], (LOW, HIGH), strict=True):
        at = found.mem[ratio_ppm]
        assert row[4:] == [f"{at.median:.3f}", f"{at.most:.3f}", str(at.runs)]
    assert rows[4][:6] == ["C-score", "-", "-", "-", f"{found.cscore.median:.3f}", f"{found.cscore.most:.3f}"]
    assert " ".join(rows[5]).startswith("78 of 80 runs") or " ".join(rows[5]).startswith("80 of 80 runs")


def test_nodes_are_called_by_their_addresses() -> None:
    nodes = [Node("a" * 8, 1, 0, address="10.0.0.1"), Node("b" * 8, 1, 0, address="10.0.0.2")]
    assert node_names(nodes) == {"a" * 8: "10.0.0.1", "b" * 8: "10.0.0.2"}
    nodes = [Node("a" * 8, 1, 0, address="::1"), Node("b" * 8, 1, 0, address="::1"), Node("c" * 8, 1, 0)]
    assert list(node_names(nodes).values()) == ["::1 aaaaaa", "::1 bbbbbb", "cccccc"]


def test_plain_lines_are_few_and_none_comes_twice() -> None:
    lines, long = io.StringIO(), "2 of 9 [bold]" + "." * 20
    plain = PlainLines(Console(file=lines, width=20))
    for at, line in [(0, "0 of 9"), (1, "1 of 9"), (10, long), (20, long), (29, "8 of 9"), (30, "8 of 9")]:
        plain.show(line, at)
    plain.show("9 of 9", 31, must=True)
    plain.show("9 of 9", 32, must=True)
    assert lines.getvalue().splitlines() == ["0 of 9", long, "8 of 9", "9 of 9"]

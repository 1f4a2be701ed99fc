"""Which worker trains what: every shard settles once, whatever workers do; stragglers and leaving workers."""

import random
import sys
from statistics import median
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated_pool import SimulatedPool
from orchestrator.runners.base import FailedShard, WorkersChanged
from orchestrator.runners.lazy_heap import LazyHeap
from orchestrator.runners.ray import runner
from orchestrator.runners.ray.placement import Node, next_worker_nodes
from orchestrator.runners.running_median import RunningMedian
from orchestrator.runners.scheduler import MAX_LOST, MAX_NODES_LOST, Scheduler
from workers.campaign.keys import Shard
from workers.errors import StoreError
from workers.training.shard import ShardError, ShardSummary


def shards(count: int) -> list[Shard]:
    return [Shard(500_000, 2 * index, 2 * index + 2) for index in range(count)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def done(shard: Shard) -> ShardSummary:
    return ShardSummary(shard, diverged=0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 6))
def test_every_shard_settles_once_whatever_workers_do(seed: int, count: int, workers: int) -> None:
    chance, clock = random.Random(seed), Clock()
    scheduler = Scheduler(shards(count), clock)
    open_calls: list[tuple[int, int, Shard]] = []
    lives = dict.fromkeys(range(workers), 0)
    ready: set[int] = set()
    settled: list[Shard] = []
    for step in range(10_000):
        if not scheduler.unfinished:
            break
        clock.now += chance.random()
        for worker in set(lives) - ready:
            if chance.random() < 0.5 or step > 500:
                scheduler.add_worker(worker, "cpu")
                ready.add(worker)
        open_calls += [(worker, lives[worker], shard) for worker, shard in scheduler.assign()]
        assert scheduler.running <= scheduler.unfinished
        what = chance.random()
        if what < 0.1 and ready and step < 500:  # a worker dies; what it finished before may still be told later
            worker = chance.choice(sorted(ready))
            ready.discard(worker)
            lives[worker] += 1
            failed_shard = scheduler.on_worker_lost(worker, node_lost=chance.random() < 0.5)
            settled += [] if failed_shard is None else [failed_shard.error.shard]
        elif what < 0.15 and len(ready) > 1 and step < 500:
            scheduler.drain(chance.choice(sorted(ready)))
        elif open_calls:
            worker, life, shard = open_calls.pop(chance.randrange(len(open_calls)))
            if life == lives[worker] or chance.random() < 0.3:
                error = ShardError(shard, "user", "its own mistake", "")
                outcome = scheduler.on_shard_end(worker, shard, error if chance.random() < 0.1 else done(shard))
                if outcome is not None:
                    settled.append(outcome.shard if isinstance(outcome, ShardSummary) else outcome.error.shard)
        if ready and all(scheduler.is_idle(worker) for worker in ready) and step > 500:
            for worker in list(ready):  # those that were retired come back as new workers
                scheduler.on_worker_lost(worker, node_lost=True)
                ready.discard(worker)
    assert sorted(settled) == sorted(shards(count))


def test_two_in_flight_while_there_is_plenty_and_one_at_the_end() -> None:
    scheduler = Scheduler(shards(5), Clock())
    scheduler.add_worker(0, "cpu")
    scheduler.add_worker(1, "cpu")
    sent = list(scheduler.assign())
    assert [worker for worker, _ in sent] == [0, 1, 0]
    assert scheduler.running == 3
    assert scheduler.unfinished == 5


def test_many_in_flight_where_shards_take_milliseconds() -> None:
    clock, scheduler = Clock(), None
    scheduler = Scheduler(shards(100), clock)
    scheduler.add_worker(0, "cpu")
    for _ in range(5):
        sent = list(scheduler.assign())
        for worker, shard in sent:
            clock.now += 0.01
            scheduler.on_shard_end(worker, shard, done(shard))
    assert len(list(scheduler.assign())) == 20  # 0.2 seconds of work


def test_an_idle_worker_repeats_what_runs_far_past_the_median_and_the_first_to_commit_wins() -> None:
    clock = Clock()
    scheduler = Scheduler(shards(8), clock)
    scheduler.add_worker(0, "cpu")
    while scheduler.unfinished > 2:
        for worker, shard in list(scheduler.assign()):
            clock.now += 10
            scheduler.on_shard_end(worker, shard, done(shard))
    scheduler.add_worker(1, "cpu")
    scheduler.add_worker(2, "NVIDIA H200")
    slow = dict(scheduler.assign())
    assert set(slow) == {0, 1}
    scheduler.on_shard_end(1, slow[1], done(slow[1]))
    clock.now += 15
    assert not list(scheduler.assign()), "it is not late yet"
    clock.now += 10
    assert list(scheduler.assign()) == [(1, slow[0])], "and only hardware of its own kind repeats it"
    assert not list(scheduler.assign())
    assert scheduler.on_shard_end(1, slow[0], done(slow[0])) == done(slow[0])
    assert scheduler.unfinished == 0
    assert scheduler.on_shard_end(0, slow[0], ShardError(slow[0], "store", "the other one's place", "")) is None


def test_an_idle_worker_takes_what_another_has_not_begun() -> None:
    scheduler = Scheduler(shards(3), Clock())
    scheduler.add_worker(0, "cpu")
    first = list(scheduler.assign())
    assert len(first) == 2
    scheduler.add_worker(1, "cpu")
    assert list(scheduler.assign()) == [(1, shards(3)[2])]
    assert scheduler.on_shard_end(1, shards(3)[2], done(shards(3)[2])) is not None
    assert list(scheduler.assign()) == [(1, first[1][1])]


def test_a_leaving_worker_gets_nothing_more_and_others_take_what_it_has_not_begun() -> None:
    scheduler = Scheduler(shards(4), Clock())
    scheduler.add_worker(0, "cpu")
    (_, training), (_, waiting) = scheduler.assign()
    scheduler.drain(0)
    scheduler.add_worker(1, "cpu")
    assert next(iter(scheduler.assign())) == (1, waiting)
    assert scheduler.on_shard_end(0, training, done(training)) == done(training)
    assert not scheduler.is_idle(0)
    assert scheduler.on_shard_end(0, waiting, done(waiting)) == done(waiting)
    assert scheduler.is_idle(0)
    assert all(worker == 1 for worker, _ in scheduler.assign())


@pytest.mark.parametrize(("node_lost", "most"), [(False, MAX_LOST), (True, MAX_NODES_LOST)])
def test_a_shard_that_takes_its_workers_down_is_given_up(node_lost: bool, most: int) -> None:
    scheduler = Scheduler(shards(1), Clock())
    for death in range(most):
        scheduler.add_worker(death, "cpu")
        assert len(list(scheduler.assign())) == 1
        outcome = scheduler.on_worker_lost(death, node_lost)
    assert isinstance(outcome, FailedShard)
    assert outcome.attempts == most
    assert scheduler.unfinished == 0


def test_a_shard_that_cannot_be_committed_ends_the_campaign() -> None:
    scheduler = Scheduler(shards(1), Clock())
    scheduler.add_worker(0, "cpu")
    ((worker, shard),) = scheduler.assign()
    with pytest.raises(StoreError, match="disk full"):
        scheduler.on_shard_end(worker, shard, ShardError(shard, "store", "disk full", ""))


def calls_per_shard(workers: int) -> float:
    """Function calls that a campaign costs per shard, from its first to its last, every second worker never ending."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    clock, given = Clock(), shards(4 * workers)
    scheduler = Scheduler(given, clock)
    sys.setprofile(count)
    try:
        for worker in range(workers):
            scheduler.add_worker(worker, "cpu")
        while scheduler.unfinished:
            clock.now += 10
            for worker, shard in list(scheduler.assign()):
                if worker % 2:
                    scheduler.on_shard_end(worker, shard, done(shard))
                    assert scheduler.running <= scheduler.unfinished
    finally:
        sys.setprofile(None)
    return calls / len(given)


@pytest.mark.slow
def test_what_a_shard_costs_the_driver_does_not_grow_with_the_workers() -> None:
    assert calls_per_shard(800) < 1.5 * calls_per_shard(50)


def test_reports_of_workers_that_come_and_go_do_not_grow_with_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report lists all nodes."""
    monkeypatch.setattr(runner, "_REPORT_SECONDS", 1e9)
    pool = SimulatedPool(500)
    outcomes = list(runner.drive(pool, Scheduler(shards(6_000), lambda: pool.now)))
    reports = [outcome for outcome in outcomes if isinstance(outcome, WorkersChanged)]
    assert pool.lost > 0
    assert (len(reports), reports[-1].lost) == (2, pool.lost)


@given(st.lists(st.integers(0, 9)), st.integers(1, 7))
def test_the_running_median_is_that_of_the_last_values(values: list[int], window: int) -> None:
    running = RunningMedian(window)
    for count, value in enumerate(values, start=1):
        running.append(value)
        recent = values[max(0, count - window) : count]
        assert (len(running), running.value()) == (len(recent), median(recent))


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=2_000))
def test_a_lazy_heap_finds_the_smallest_valid_entry_and_stays_small(steps: list[tuple[int, bool]]) -> None:
    valid: set[tuple[int]] = set()
    heap = LazyHeap[tuple[int]](valid.__contains__)
    for number, there in steps:
        if there:
            valid.add((number,))
            heap.push((number,))
        else:
            valid.discard((number,))
        assert heap.smallest() == min(valid, default=None)
    for number in range(1_000):
        valid.clear()
        valid.add((number,))
        heap.push((number,))
    assert len(heap) < 1_000


@pytest.mark.parametrize(
    ("node", "gpus", "slots"),
    [
        (Node("a", cpus=8, gpus=0), 0, 8),
        (Node("a", cpus=8, gpus=0), 1, 0),
        (Node("a", cpus=8, gpus=4), 0.25, 16),
        (Node("a", cpus=8, gpus=4), 0.3, 12),
        (Node("a", cpus=8, gpus=5), 0.4, 10),
        (Node("a", cpus=8, gpus=1), 1 / 3, 3),
        (Node("a", cpus=8, gpus=1), 0.33334, 3),
        (Node("a", cpus=8, gpus=2), 0.1, 20),
        (Node("a", cpus=8, gpus=1), 0.0001, 10_000),
        (Node("a", cpus=8, gpus=4), 1, 4),
        (Node("a", cpus=8, gpus=5), 2, 2),
        (Node("a", cpus=8, gpus=4, leaving=True), 1, 0),
    ],
)
def test_slots_of_a_node(node: Node, gpus: float, slots: int) -> None:
    assert node.slots(gpus) == slots


def test_workers_fill_one_node_after_the_other() -> None:
    nodes = [Node("a", 4, 0), Node("b", 4, 0), Node("c", 4, 0, leaving=True)]
    assert next_worker_nodes(nodes, {}, 0, 6) == ["a"] * 4 + ["b"] * 2
    assert next_worker_nodes(nodes, {"b": 2, "c": 1}, 0, 4) == ["b", "b", "a", "a"]
    assert next_worker_nodes(nodes, {"a": 4, "b": 4}, 0, 4) == []

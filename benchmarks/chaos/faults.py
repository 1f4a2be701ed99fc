"""Faults, as generators: inject, yield the condition to wait for (often more committed runs), and repair.

What a fault chooses (which worker, how long) comes from its own seeded generator. Waiting for runs ends as well when
nothing is committed for a while: a fault may well be what everybody waits for.
"""

import signal
import subprocess
from collections.abc import Callable, Generator, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from benchmarks.chaos.cluster import Node
from benchmarks.chaos.store_locations import Bucket, Disk
from benchmarks.isolation import kill, longtail

if TYPE_CHECKING:
    from benchmarks.chaos.campaign import ChaosCampaign

Waits = Generator[Callable[[], bool], None, None]
Fault = Callable[["ChaosCampaign", Random], Waits]

_STUCK_SECONDS = 6.0
_WARNING_SECONDS = 3.0


def killed_worker(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGKILL to a worker's process."""
    yield chaos.has_workers
    kill(random.choice(chaos.workers()))


def hung_worker(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGSTOP to a worker's process, which Ray does not notice; SIGCONT some runs later."""
    yield chaos.has_workers
    pid = random.choice(chaos.workers())
    kill(pid, signal.SIGSTOP)
    yield chaos.later(random.randint(2, 8), _STUCK_SECONDS)
    kill(pid, signal.SIGCONT)


def killed_driver(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGKILL to a driver, which is started again."""
    yield chaos.has_drivers
    random.choice(chaos.drivers).process.kill()


def interrupted_driver(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGTERM to a driver, which is started again."""
    yield chaos.has_drivers
    random.choice(chaos.drivers).process.terminate()


def frozen_driver(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGSTOP to a driver; another one is started and goes on; then the first wakes up."""
    yield chaos.has_drivers
    frozen = random.choice(chaos.drivers).process
    frozen.send_signal(signal.SIGSTOP)
    chaos.start_driver()
    yield chaos.later(random.randint(6, 20), 3 * _STUCK_SECONDS)
    frozen.send_signal(signal.SIGCONT)


def second_driver(chaos: "ChaosCampaign", random: Random) -> Waits:
    """A second driver on the same store and cluster, while the first one works."""
    yield chaos.has_drivers
    chaos.start_driver()


def killed_raylet(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGKILL to a node's raylet: the node is lost; a new one joins."""
    node = yield from _pick_node(chaos, random)
    node.kill_raylet()
    chaos.cluster.leave(node)
    chaos.cluster.join()
    yield node.ended
    node.kill()


def killed_node(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGKILL to every process of a node at once; a new one joins."""
    node = yield from _pick_node(chaos, random)
    node.kill()
    chaos.cluster.leave(node)
    chaos.cluster.join()


def frozen_node(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGSTOP to a whole node until Ray has given it up and some runs more; then it wakes up and writes on."""
    node = yield from _pick_node(chaos, random)
    node.freeze()
    chaos.cluster.leave(node)
    question = chaos.cluster.ask("dead", node.address)
    yield lambda: question.poll() is not None
    chaos.cluster.join()
    yield chaos.later(random.randint(1, 6), _STUCK_SECONDS)
    node.thaw()


def preempted_node(chaos: "ChaosCampaign", random: Random) -> Waits:
    """A preemption notice (`ray drain-node`), and seconds later the node is gone; a new one joins at the notice."""
    node = yield from _pick_node(chaos, random)
    question = chaos.cluster.ask("id", node.address)
    chaos.cluster.leave(node)
    chaos.cluster.join()
    yield lambda: question.poll() is not None
    node_id = question.communicate()[0].decode().strip()
    words = ["--node-id", node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "chaos"]
    words += ["--address", chaos.cluster_address, "--deadline-remaining-seconds", str(int(_WARNING_SECONDS))]
    notice = chaos.cluster.call(["ray", "drain-node", *words])
    yield lambda: notice.poll() is not None
    yield chaos.in_seconds(_WARNING_SECONDS)
    node.kill()


def killed_head(chaos: "ChaosCampaign", random: Random) -> Waits:
    """SIGKILL to the whole head: the cluster is over. The driver ends; a new cluster is started, and a new driver."""
    chaos.hold()
    chaos.cluster.head.kill()
    yield chaos.drivers_gone()
    chaos.cluster.close()
    chaos.cluster.start()
    chaos.release()


def full_disk(chaos: "ChaosCampaign", random: Random) -> Waits:
    """No byte is free on the store's disk, until the driver has ended over it."""
    location = chaos.location
    if not isinstance(location, Disk):
        raise TypeError("needs a disk")
    chaos.hold()
    location.fill()
    yield chaos.drivers_gone()
    location.repair()
    chaos.release()


def failing_requests(chaos: "ChaosCampaign", random: Random) -> Waits:
    """3 to 12 requests to the object store in a row fail: 500, 503, connection reset."""
    location = chaos.location
    if not isinstance(location, Bucket):
        raise TypeError("needs a bucket")
    location.frontend.fail(random.randint(3, 12))
    yield lambda: True


def unreachable_store(chaos: "ChaosCampaign", random: Random) -> Waits:
    """Every request to the object store fails for 5 to 20 s; the driver rides that out, or is started again."""
    location = chaos.location
    if not isinstance(location, Bucket):
        raise TypeError("needs a bucket")
    chaos.hold()
    location.frontend.fail(2**31)
    yield chaos.in_seconds(random.uniform(5, 20))
    location.repair()
    chaos.release()


def compaction(chaos: "ChaosCampaign", random: Random) -> Waits:
    """`longtail compact` in the midst, killed as it works, then once more; again where it met another fault."""
    first = _compact(chaos)
    yield chaos.in_seconds(random.uniform(0.5, 2.5))
    first.kill()
    for _ in range(_COMPACTIONS):
        again = _compact(chaos)
        yield partial(_ended, again)
        if again.returncode == 0:
            return
        yield chaos.in_seconds(5)
    chaos.problems.append(f"longtail compact: exit code {again.returncode}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _compact(chaos: "ChaosCampaign") -> subprocess.Popen[bytes]:
    return chaos.cluster.call(longtail("compact", chaos.location.uri))


def _pick_node(chaos: "ChaosCampaign", random: Random) -> Generator[Callable[[], bool], None, Node]:
    """A node with a worker."""
    yield chaos.has_workers
    return random.choice([node for node in chaos.cluster.nodes if node.workers()])


_COMPACTIONS = 5
"""It may meet a full disk, or a store that does not answer, as well."""

COMPACTION = "compaction, killed and repeated"
LOCAL: Mapping[str, tuple[Fault, int]] = {
    "worker killed": (killed_worker, 4),
    "worker hung, then back": (hung_worker, 1),
    "driver killed": (killed_driver, 2),
    "driver interrupted": (interrupted_driver, 1),
    "driver frozen, then back": (frozen_driver, 1),
    "second driver": (second_driver, 2),
    "raylet killed": (killed_raylet, 2),
    "node killed": (killed_node, 1),
    "node frozen, then back": (frozen_node, 2),
    "node preempted": (preempted_node, 1),
    "head killed": (killed_head, 1),
    "disk full": (full_disk, 2),
    COMPACTION: (compaction, 1),
}
"""The faults of a campaign on a disk, by name, and how many tickets each has in the draw."""

_ONLY_LOCAL = ("disk full", "head killed")
REMOTE: Mapping[str, tuple[Fault, int]] = {
    **{name: fault for name, fault in LOCAL.items() if name not in _ONLY_LOCAL},
    "store: requests fail": (failing_requests, 4),
    "store: unreachable": (unreachable_store, 2),
}
"""Likewise on an object store."""

"""Placement of workers: how many fit on each node, and which node gets the next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GPU_UNITS = 10_000
"""Ray counts a GPU in these."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster; `leaving` where it will end soon (a spot machine's notice, a scale-down).

    `address` is its network address, where that is known.
    """

    node_id: str
    cpus: float
    gpus: float
    leaving: bool = False
    address: str = ""

    def slots(self, gpus_per_worker: float) -> int:
        """How many workers fit. A worker without a GPU takes a core; none takes parts of several GPUs.

        A fraction is rounded to ten-thousandths, as Ray does: three workers with 0.33334 GPUs share one.
        """
        if self.leaving:
            return 0
        if not gpus_per_worker:
            return int(self.cpus)
        if gpus_per_worker < 1:
            return int(self.gpus) * (_GPU_UNITS // round(gpus_per_worker * _GPU_UNITS))
        return int(self.gpus) // int(gpus_per_worker)


def node_names(nodes: Sequence[Node]) -> dict[str, str]:
    """The display name of each node, by id: its address, followed by the start of its id where that is not unique."""
    sharing = Counter(node.address for node in nodes)
    return {
        node.node_id: node.address
        if node.address and sharing[node.address] == 1
        else f"{node.address} {node.node_id[:6]}".strip()
        for node in nodes
    }


def next_worker_nodes(nodes: Sequence[Node], taken: Mapping[str, int], gpus_per_worker: float, count: int) -> list[str]:
    """The nodes of the next `count` workers, as far as there is room beside the `taken` slots of each node.

    Node after node, those with workers first: the workers of a node share one copy of the data.
    """
    chosen: list[str] = []
    for node in sorted(nodes, key=lambda node: (-taken.get(node.node_id, 0), node.node_id)):
        free = node.slots(gpus_per_worker) - taken.get(node.node_id, 0)
        chosen += [node.node_id] * max(0, min(free, count - len(chosen)))
    return chosen

"""A session on a Ray cluster: the connection, and the slots for workers there.

Campaigns, recipe searches and estimates all connect here and count slots alike.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray._private import state

from orchestrator.runners.ray.cluster import connected
from orchestrator.runners.ray.placement import Node
from orchestrator.runners.ray.preflight import ClusterError
from orchestrator.runners.run_options import ClusterOptions


@dataclass(frozen=True)
class RaySession:
    """A connection to a cluster. A worker takes `gpus` GPUs there, or one CPU where that is 0.

    `is_own`: the cluster was started for this session, on this machine.
    """

    options: ClusterOptions
    gpus: float
    is_own: bool

    @property
    def slots(self) -> int:
        """The number of workers that fit on the present nodes."""
        return sum(node.slots(self.gpus) for node in cluster_nodes())

    @property
    def workers(self) -> int:
        """The maximum number of workers: as requested, else one for each slot."""
        return self.options.workers or self.slots

    def check_slots(self) -> None:
        """Raise ClusterError where no worker fits and no autoscaler or option promises more nodes."""
        if self.slots or (self.options.workers and self.options.address):
            return
        requested, has = f"{self.gpus:g} GPUs" if self.gpus else "1 CPU", ray.cluster_resources()
        raise ClusterError(
            f"the Ray cluster has no slot for a worker with {requested}: "
            f"it has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs "
            "(--workers N waits for nodes that join, and asks an autoscaler for them)"
        )


@contextmanager
def ray_session(options: ClusterOptions) -> Iterator[RaySession]:
    """A session, as a context; on the caller's cluster, where this process is connected to one.

    Raises ClusterError.
    """
    is_own = starts_cluster(options)
    with connected(options.address, options.workers, options.working_dir):
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        yield RaySession(options, gpus, is_own)


def starts_cluster(options: ClusterOptions) -> bool:
    """Whether a session would start a cluster on this machine."""
    return options.address is None and not os.environ.get("RAY_ADDRESS") and not ray.is_initialized()


def cluster_nodes() -> list[Node]:
    """The machines of the cluster that are alive."""
    # What `ray drain-node` and clouds' notices set; no public function of Ray tells it to a driver.
    leaving: dict[str, int] = getattr(state.state, "get_draining_nodes", dict)()
    return [
        Node(
            node_id=node["NodeID"],
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            leaving=node["NodeID"] in leaving,
            address=node["NodeManagerAddress"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]

"""Maps a function over pieces of an estimate on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from analysis.reading.parallel import Piece, Result, Shared
from orchestrator.runners.ray.session import ray_session
from orchestrator.runners.run_options import ClusterOptions
from workers.common.progress import ProgressCallback

_RETRIES = 5
"""So often a piece whose worker died is computed again."""


class RayParallelMap:
    """A piece per core of the cluster at `address` at a time; without one, of a cluster of its own on this machine."""

    def __init__(self, address: str | None = None, on_progress: ProgressCallback | None = None) -> None:
        self.address = address
        self.on_progress = on_progress

    def map(self, work: Callable[[Shared, Piece], Result], shared: Shared, pieces: Sequence[Piece]) -> Iterator[Result]:
        """See `ParallelMap.map`. What all pieces share is sent to each node once. Raises ClusterError."""
        with ray_session(ClusterOptions(address=self.address, gpus_per_worker=0)) as session:
            session.check_slots()
            yield from self._results(work, ray.put(shared), pieces, 2 * session.slots)

    def _results(
        self, work: Callable[..., Result], shared: Any, pieces: Sequence[Piece], at_once: int
    ) -> Iterator[Result]:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(work)
        waiting = [task.remote(shared, piece) for piece in pieces[:at_once]]
        for done in range(len(pieces)):
            result: Result = ray.get(waiting.pop(0))
            if done + at_once < len(pieces):
                waiting.append(task.remote(shared, pieces[done + at_once]))
            if self.on_progress is not None:
                self.on_progress(done + 1, len(pieces))
            yield result

"""Options that every computation over pairs of examples shares."""

from dataclasses import dataclass

from analysis.reading.parallel import ParallelMap, Threads
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.means import Empty

MEMORY_MB = 512.0
MAX_PAIRS = 10_000_000


@dataclass(frozen=True)
class PairOptions:
    """How pairs are computed and limited. Raises EstimateError for a `confidence` outside (0, 1)."""

    empty: Empty | None = None
    """Mean of an empty group of runs; None: "nan" in lists (without such pairs), "half" in the matrix (the paper)."""
    confidence: float = CONFIDENCE
    """Level of the limits `low` and `high`."""
    memory_mb: float = MEMORY_MB
    """Memory of the blocks in which pairs are counted, in MB. No result depends on it."""
    max_pairs: int = MAX_PAIRS
    """Largest number of pairs that a list may have; more raise TooManyPairsError."""
    parallel: ParallelMap | None = None
    """Where blocks are computed; None: on all cores."""

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    @property
    def blocks(self) -> ParallelMap:
        """Maps a function over the blocks."""
        return self.parallel or Threads()

    @property
    def empty_in_lists(self) -> Empty:
        """Mean of an empty group in a list of pairs."""
        return self.empty or "nan"

    @property
    def empty_in_matrix(self) -> Empty:
        """Mean of an empty group in the influence matrix."""
        return self.empty or "half"


DEFAULTS = PairOptions()

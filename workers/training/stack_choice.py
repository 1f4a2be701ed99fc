"""`StackChoice`: how many models train at a time on a GPU, and by which program."""

from dataclasses import dataclass

from workers.store.stack_program import GROUPED, StackProgram


def even_size(runs: int, limit: int) -> int:
    """The size at most `limit` of the fewest stacks that hold all runs of a ratio, so that the last is nearly full."""
    stacks = -(-runs // limit)
    return -(-runs // stacks)


@dataclass(frozen=True)
class StackChoice:
    """The stack that a calibration found to train most models per second."""

    size: int
    program: StackProgram = GROUPED

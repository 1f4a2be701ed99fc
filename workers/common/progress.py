"""Types of callbacks that report the progress of long work."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with how many pieces are done, and how many there are."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


StageCallback = Callable[[str], None]
"""Called with the name of a stage when it begins."""

StageProgressCallback = Callable[[str, int, int], None]
"""Called with the name of a stage, how many of its pieces are done, and how many there are."""

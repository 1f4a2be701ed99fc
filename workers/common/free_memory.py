"""Memory of this machine that programs can still take."""

from pathlib import Path

_MEMORY_INFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes that programs can still take, on Linux, within a container's limit; None where that is unknown."""
    try:
        fields = dict(line.split(":", 1) for line in _MEMORY_INFO.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    try:
        most, taken = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, max(0, most - taken))

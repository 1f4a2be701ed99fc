"""CPU cores that this process may use."""

import math
import os
from functools import cache
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup")


@cache
def usable_cores() -> int:
    """The machine's cores, less those that an affinity mask or a container's quota withholds."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(cores, cores_of_quota(_CONTAINER) or cores))


def cores_of_quota(group: Path) -> int | None:
    """The cores of a control group's quota, rounded up; None without one.

    `group` is the folder of the file system cgroup, of version 2 or 1. joblib.cpu_count tells the same, and imports
    asyncio, multiprocessing and psutil.
    """
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    if not (quota.isdecimal() and period.isdecimal() and int(period)):  # max, or -1: there is none
        return None
    return math.ceil(int(quota) / int(period)) or None

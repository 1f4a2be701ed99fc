"""CPU cores that this process may use."""

import os
from functools import cache


@cache
def usable_cores() -> int:
    """The machine's cores, less those that an affinity mask or a container's quota withholds."""
    from joblib import cpu_count  # imports what is slow, and few processes ask

    return int(cpu_count()) or os.cpu_count() or 1

"""Suggests the closest allowed name for a misspelt one."""

import difflib
from collections.abc import Iterable

_ALIKE = 0.65
"""The least share of characters in common, in order. `epoch` and `epochs` have 0.91 of them, `rey` and `ray` 0.67;
`nonsense` and `noise` 0.62."""

_MIN_PART = 3
"""Characters of a name that are taken for all of it."""


def closest(unknown_name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like what was given, whatever the case; None where none is like it.

    A name of which only one has a part that long is meant, too: `svhn` of `svhn-localization`.
    """
    names = {name.casefold(): name for name in allowed}
    word = unknown_name.casefold()
    alike = difflib.get_close_matches(word, names, n=1, cutoff=_ALIKE)
    if not alike and len(word) >= _MIN_PART:
        parts = [name for name in names if word in name]
        alike = parts if len(parts) == 1 else []
    return names[alike[0]] if alike else None

"""Matches the examples that two sets of scores share: other pixels, a subset, a data set that grew.

Of the same data (by fingerprint) all of them. Else those of the same name, where both have names of their examples; a
name that one side has several times tells nothing and is left out. Else those of the same id, from 0 to the end of the
shorter one, if all their labels agree: then the longer one grew at its end, or the same files were decoded otherwise.
Labels that are sorted agree by themselves, so they are no evidence where the data are known to be others.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.scoring.scores import Scores
from workers.campaign.plural import count_text
from workers.common.arrays import Integers
from workers.errors import EstimateError


@dataclass(frozen=True)
class Matched:
    """int64[n] ids of the shared examples in a and in b, ascending in a; `basis` says how they were matched.

    `basis` is empty where both sides are of the same examples in the same order.
    """

    a: Integers
    b: Integers
    basis: str = ""


def match_examples(a: Scores, b: Scores) -> Matched:
    """The examples that both have. Raises EstimateError where there is none, or nothing tells which they are."""
    if a.fingerprint is not None and a.fingerprint == b.fingerprint:
        return _all(a)
    if a.names is not None and b.names is not None:
        match = _by_name(a, b)
        if len(match.a):
            return match
    return _by_id(a, b)


def _all(a: Scores) -> Matched:
    ids = np.arange(len(a.labels))
    return Matched(ids, ids)


def _by_name(a: Scores, b: Scores) -> Matched:
    (once_a, ids_a), (once_b, ids_b) = _unique(a.names), _unique(b.names)
    places = pc.index_in(once_a, value_set=once_b)
    shared = places.is_valid().to_numpy(zero_copy_only=False)
    in_b = places.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(ids_a[shared])
    left_out = (len(a.labels) - len(ids_a)) + (len(b.labels) - len(ids_b))
    same = count_text(int(shared.sum()), "example")
    basis = f"on the {same} with the same name, of {len(a.labels):,} and {len(b.labels):,}"
    basis += f"; {left_out:,} whose names are there several times are left out" if left_out else ""
    return Matched(ids_a[shared][order], ids_b[in_b][order], basis)


def _unique(names: pa.Array) -> tuple[pa.Array, Integers]:
    """The names that are there once, and whose they are."""
    encoded = names.dictionary_encode()
    numbers = encoded.indices.to_numpy(zero_copy_only=False)
    times = np.bincount(numbers, minlength=len(encoded.dictionary))
    ids = np.flatnonzero(times[numbers] == 1)
    return names.take(pa.array(ids)), ids


def _by_id(a: Scores, b: Scores) -> Matched:
    count = min(len(a.labels), len(b.labels))
    wrong = np.flatnonzero(a.labels[:count] != b.labels[:count])
    if len(wrong):
        first = f"the first is example {wrong[0]}: {b.labels[wrong[0]]} and {a.labels[wrong[0]]}"
        raise EstimateError(
            f"{b.source}: is of other examples than {a.source}, or in another order: "
            f"{len(wrong):,} of {count_text(count, 'label')} differ, {first}{_no_names(a, b)}"
        )
    others = a.fingerprint is not None and b.fingerprint is not None
    same_count = len(a.labels) == len(b.labels)
    if same_count and not others:
        return _all(a)
    # As many changes of label as sorted labels have, or hardly more: any data set with these classes has them.
    changes = int((np.diff(a.labels[:count]) != 0).sum())
    if changes < 2 * len(np.unique(a.labels[:count])):
        raise EstimateError(
            f"{b.source}: was created from a different data set than {a.source}, and sorted labels do not tell which "
            "examples are the same"
            f"{_no_names(a, b)}"
        )
    ids = np.arange(count)
    same = count_text(count, "example")
    basis = f"on the {same} with the same id and label, of {len(a.labels):,} and {len(b.labels):,}"
    return Matched(ids, ids, basis + ("; the pixels are others" if others and same_count else ""))


def _no_names(a: Scores, b: Scores) -> str:
    if a.names is None or b.names is None:
        lacking = [each.source for each in (a, b) if each.names is None]
        return f"; names of examples would, which {' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} not"
    return "; they share no name"

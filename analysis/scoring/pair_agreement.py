"""Agreement of the high-influence pairs of two stores, by threshold of influence.

    J(t) = |A and B| / |A or B|      A = {(i, z): infl_a(i, z) >= t, mem_a(i) >= min_mem, of one class}; B likewise
    D(t) = mean over A or B of |infl_a(i, z) - infl_b(i, z)|

V. Feldman and C. Zhang, NeurIPS 2020, figure 7: two architectures, or two seeds of one, which is the ceiling. Errors
are those of `analysis.scoring.agreement_errors`: over groups of training examples, and over the runs of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.influence.high_influence import PUBLISHED, PairSelection
from analysis.influence.pair_curves import DIFFERENCE, N_A, N_B, N_BOTH, PairSums, sum_pairs
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.influence.run_versions import RunVersions, run_versions
from analysis.reading.examples import read_labels
from analysis.reading.halves import pack_ratio
from analysis.reading.selection import check_some_run, only_ratio
from analysis.scoring.agreement import A_AND_B, CURVE_COLUMNS
from analysis.scoring.matching import Matched, match_examples
from analysis.scoring.scores import Scores, Source, is_score_file, known_fingerprint
from analysis.statistics.jackknife import error_of, jackknife_se, positive_limits, share_limits
from workers.campaign.plural import count_text
from workers.common.arrays import Floats
from workers.errors import EstimateError
from workers.store import Store

PAIR_THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75)
"""Default thresholds of influence."""


@dataclass(frozen=True)
class PairAgreement:
    """`curve` has one row per threshold, with CURVE_COLUMNS of `analysis.scoring.agreement`, of pairs.

    `matched` tells how examples were matched, empty for the same data; `left_out` counts the shared training examples
    without a run on both sides of their subsets in either store.
    """

    name_a: str
    name_b: str
    curve: pd.DataFrame
    left_out: int
    matched: str = ""


@dataclass(frozen=True)
class _Side:
    """A store's runs with what its examples are matched by."""

    name: str
    versions: RunVersions
    train: Scores
    test: Scores


def compare_pairs(
    a: Source,
    b: Source,
    *,
    ratio: float | None = None,
    thresholds: Sequence[float] = PAIR_THRESHOLDS,
    selection: PairSelection = PUBLISHED,
    options: PairOptions = DEFAULTS,
) -> PairAgreement:
    """The agreement of two stores' pairs, of the training and test examples that both have.

    Of `selection`, `min_mem` and `same_class` hold at every threshold. Raises EstimateError for a score file, no
    threshold or one that is not finite, stores without test examples, and as `compare`.
    """
    for source in (a, b):
        if is_score_file(source):
            raise EstimateError(f"{source}: has no pairs: both sides must be stores")
    if not len(thresholds) or not np.isfinite(thresholds).all():
        raise EstimateError(f"thresholds must be finite numbers, at least one, got {list(thresholds)!r}")
    ours, theirs = (_read(source if isinstance(source, Store) else Store.open(source), ratio) for source in (a, b))
    examples, tests = match_examples(ours.train, theirs.train), match_examples(ours.test, theirs.test)
    sides = _of_examples(ours.versions, examples.a, tests.a), _of_examples(theirs.versions, examples.b, tests.b)
    known = np.isfinite(sides[0].mem[0]) & np.isfinite(sides[1].mem[0])
    sums = sum_pairs(sides, thresholds, selection, options)
    curve = [_row(sums, place, threshold, options.confidence) for place, threshold in enumerate(thresholds)]
    frame = pd.DataFrame(curve, columns=list(CURVE_COLUMNS))
    return PairAgreement(ours.name, theirs.name, frame, int((~known).sum()), _matched(examples, tests))


def _read(store: Store, ratio: float | None) -> _Side:
    ratio_ppm = only_ratio(store, ratio)
    labels = read_labels(store)
    if not labels.num_test:
        raise EstimateError(f"{store.uri}: has no pairs: the data set has no test examples")
    packed = pack_ratio(store, labels, ratio_ppm)
    bits = packed.bits
    check_some_run(store.uri, bits.runs, bits.diverged, bits.ratio)
    versions = run_versions(packed)
    basis, known = f"ratio {bits.ratio:g}, {count_text(bits.runs, 'run')}", known_fingerprint(store)
    train, test = store.names
    of_train = Scores(store.uri, basis, labels.label, versions.mem[0], known, train)
    of_test = Scores(store.uri, basis, labels.test_label, np.zeros(labels.num_test), known, test)
    return _Side(f"{store.uri} ({basis})", versions, of_train, of_test)


def _of_examples(versions: RunVersions, examples: Any, tests: Any) -> RunVersions:
    return replace(versions, bits=versions.bits.of_examples(examples, tests), mem=versions.mem[:, examples])


def _matched(examples: Matched, tests: Matched) -> str:
    sides = (("training", examples.basis), ("test", tests.basis))
    return "; ".join(f"{which}: {basis}" for which, basis in sides if basis)


def _row(sums: PairSums, place: int, threshold: float, confidence: float) -> dict[str, object]:
    whole = sums.whole[place]
    either = int(whole[N_A] + whole[N_B] - whole[N_BOTH])
    row: dict[str, object] = {"compared": A_AND_B, "threshold": threshold}
    row |= {name: int(whole[column]) for name, column in (("n_a", N_A), ("n_b", N_B), ("n_both", N_BOTH))}
    without_examples = sums.whole[place] - sums.of_examples[:, place]
    for measure, of in (("jaccard", _jaccard), ("difference", _difference)):
        value = float(of(whole))
        over_examples = float(jackknife_se(of(without_examples)))
        error = error_of(over_examples, of(sums.without_a[:, place]), of(sums.without_b[:, place]))
        limits = (
            share_limits(value, error, either, confidence)
            if measure == "jaccard"
            else positive_limits(value, error, confidence)
        )
        names = (measure, *(f"{measure}_{each}" for each in ("se", "low", "high")))
        row |= dict(zip(names, (value, error.se, *limits), strict=True))
        row["over"] = error.over
    return row


def _jaccard(sums: Floats) -> Floats:
    """Of float64[..., 4]; NaN where neither side selects a pair."""
    return _quotient(sums[..., N_BOTH], sums)


def _difference(sums: Floats) -> Floats:
    return _quotient(sums[..., DIFFERENCE], sums)


def _quotient(part: Floats, sums: Floats) -> Floats:
    either = sums[..., N_A] + sums[..., N_B] - sums[..., N_BOTH]
    return np.where(either > 0, part / np.maximum(either, 1), np.nan)

"""Influence in a report: the strongest pairs of each test example, those that are discoveries, and both directions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.influence.discoveries import influence_discoveries
from analysis.influence.estimator import influence_top
from analysis.influence.high_influence import influential_pairs
from analysis.influence.pair_errors import effective_test_runs
from analysis.influence.pair_options import PairOptions
from analysis.reading.bits import RatioBits, pack_runs
from analysis.reading.parallel import ParallelMap
from analysis.statistics.intervals import mean_interval
from workers.errors import EstimateError
from workers.store import Store

FDR = 0.05
"""False discovery rate of the pairs of both directions, tested in one list."""
TOP = 5
"""Training examples kept for each test example."""
MAX_PAIRS = 2_000_000
TESTS, PER_SIDE = 12, 4
"""Test examples shown with both sides, and training examples on each side."""


@dataclass(frozen=True)
class InfluenceSides:
    """A test example, and the training examples that help and harm its prediction, the strongest evidence first.

    `significant`: they are discoveries. Otherwise no helpful pair of the store is one, and these have the largest
    values.
    """

    test: int
    helpful: pd.DataFrame
    harmful: pd.DataFrame
    significant: bool


@dataclass(frozen=True)
class InfluenceFindings:
    """Influence at one ratio.

    `test` has one row per test example: the share of the runs that get it right, with its limits. `top` holds the TOP
    most influential training examples of each test example, `pairs` the published selection (influence >= 0.15,
    mem >= 0.25, same class), `discovered` the pairs of either direction at the false discovery rate FDR (None where
    runs share subsets, which is not tested). Both are None where `problem` says why. `sides` are the TESTS test
    examples with the strongest helpful pairs.
    """

    test: pd.DataFrame
    top: pd.DataFrame
    pairs: pd.DataFrame | None = None
    discovered: pd.DataFrame | None = None
    sides: tuple[InfluenceSides, ...] = ()
    problem: str = ""

    @property
    def helpful(self) -> pd.DataFrame | None:
        """The discoveries of positive influence, those with the highest lower limits first."""
        if self.discovered is None:
            return None
        return _by_evidence(self.discovered[self.discovered["infl"] > 0])

    @property
    def harmful(self) -> pd.DataFrame | None:
        """The discoveries of negative influence, those with the lowest upper limits first."""
        if self.discovered is None:
            return None
        return _by_evidence(self.discovered[self.discovered["infl"] < 0])

    @property
    def discovered_pairs(self) -> int | None:
        """How many of `pairs` are discoveries."""
        if self.pairs is None or self.discovered is None:
            return None
        keys = ["test_example_id", "example_id"]
        return len(self.pairs.merge(self.discovered.loc[self.discovered["infl"] > 0, keys], on=keys))


def find_influence(store: Store, ratio: float, parallel: ParallelMap | None) -> InfluenceFindings:
    """Influence at a ratio; blocks of pairs are computed by `parallel` (None: on all cores). Raises as `pack_runs`."""
    bits = pack_runs(store, ratio)
    share = bits.correct / bits.runs
    low, high = mean_interval(share, effective_test_runs(bits))
    test = pd.DataFrame({"right": share, "low": low, "high": high})
    options = PairOptions(max_pairs=MAX_PAIRS, parallel=parallel)
    top = influence_top(bits, top=TOP, options=options)
    try:
        pairs = influential_pairs(store, ratio, options=options)
        directions = bits.of_directions("both")
        # Runs that share subsets are not tested.
        discovered = None if bits.groups is not None else influence_discoveries(directions, fdr=FDR, options=options)
    except EstimateError as error:
        return InfluenceFindings(test, top, problem=str(error))
    findings = InfluenceFindings(test, top, pairs, discovered)
    return InfluenceFindings(test, top, pairs, discovered, _sides(bits, findings, options))


def _sides(bits: RatioBits, findings: InfluenceFindings, options: PairOptions) -> tuple[InfluenceSides, ...]:
    helpful, harmful = findings.helpful, findings.harmful
    if helpful is not None and harmful is not None and len(helpful):
        tests = helpful["test_example_id"].drop_duplicates().head(TESTS)
        return tuple(InfluenceSides(test, _of(helpful, test), _of(harmful, test), True) for test in tests)
    strongest = _by_evidence(findings.pairs if findings.pairs is not None and len(findings.pairs) else findings.top)
    tests = strongest["test_example_id"].drop_duplicates().head(TESTS)
    ids = np.sort(tests.to_numpy())
    if not len(ids):
        return ()
    raising, lowering = (
        influence_top(direction, tests=ids, top=PER_SIDE, options=options) for direction in bits.of_directions("both")
    )
    raising, lowering = raising[raising["infl"] > 0], lowering[lowering["infl"] < 0]
    return tuple(InfluenceSides(test, _of(raising, test), _of(lowering, test), False) for test in tests)


def _of(pairs: pd.DataFrame, test: int) -> pd.DataFrame:
    return pairs[pairs["test_example_id"] == test].head(PER_SIDE)


def _by_evidence(pairs: pd.DataFrame) -> pd.DataFrame:
    """By the limit that is nearer to 0, the farthest from it first."""
    evidence = np.maximum(pairs["low"], -pairs["high"])
    keys = (pairs["example_id"], pairs["test_example_id"], -pairs["infl"].abs(), -evidence)
    return pairs.iloc[np.lexsort(keys)]

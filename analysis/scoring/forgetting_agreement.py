"""Agreement of forgetting events between groups of runs, as a function of the number of runs.

Two disjoint random sets of n/2 runs of one ratio each give the examples their forgettability (see
`analysis.learning.forgetting`), over those shown to a run of either; r is the correlation of the two, 2 r / (1 + |r|)
the reliability of all n (Spearman-Brown, see `analysis.scoring.split_half`). With n = 2 single runs are compared, as
M. Toneva et al., ICLR 2019, report of two seeds.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.learning.forgetting import forgetting_of
from analysis.reading.halves import draw_halves
from analysis.reading.selection import check_random_subsets, only_ratio
from analysis.reading.sequences import At, RunSequence, scan_sequences
from analysis.reading.subset_groups import check_own_subsets
from analysis.scoring.split_half import check_whole, correlations, ladder
from analysis.statistics.means import group_mean
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text
from workers.common.arrays import Floats, Integers
from workers.errors import NoEstimateError
from workers.store import Store

_AVERAGED = ("pearson", "spearman", "spearman_brown")
COLUMNS = (
    *("ratio", "runs", "runs_per_half", "comparisons", "examples"),
    *(column for name in _AVERAGED for column in (name, f"{name}_sd")),
)


_Run = npt.NDArray[np.signedinteger]
"""A run's forgettability of each example, -1 where the run was not shown it."""


def forgetting_agreement(
    store: Store,
    ratio: float | None = None,
    at: At = "presentations",
    *,
    splits: int = 10,
    max_pairs: int = 100,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """One row per number of runs, with COLUMNS, at one ratio (None: the store's only one).

    `runs` are 2, 8, 16, 32, ... and all that did not diverge, an odd one left out, in two halves of `runs_per_half`.
    Correlations are means over `comparisons`: with 2 runs every pair, or `max_pairs` of them drawn at random; else
    `splits` random splits. `examples` have a value in both halves, on average. A standard deviation (`_sd`) is over the
    comparisons, which share runs. A comparison without a value (scores that do not vary) is left out of a mean; where
    none has one, it is NaN. Takes a byte per run and example, for up to 127 epochs.

    Raises EstimateError for fewer than two runs, for `splits` or `max_pairs` under 1, a negative `seed`, and as
    `estimate_forgetting`.
    """
    check_whole("splits", splits, 1)
    check_whole("max_pairs", max_pairs, 1)
    check_whole("seed", seed, 0)
    report_stage = progress or (lambda line: None)
    check_random_subsets(store)
    check_own_subsets(store, "agreement of runs on forgetting")
    report_stage("reading")
    ratio_ppm = only_ratio(store, ratio)
    runs = [_forgettability(sequence) for sequence in scan_sequences(store, at, ratio_ppm / PPM)]
    if len(runs) < 2:
        raise NoEstimateError(
            f"{store.uri}: ratio {ratio_ppm / PPM:g} must have two runs that did not diverge, got {len(runs)}"
        )
    pairs = _pairs(len(runs), max_pairs, seed)
    report_stage(f"{count_text(len(pairs), 'pair')} of runs")
    rows = [_row(runs, 2, pairs)]
    for used in ladder(len(runs)) if len(runs) > 3 else ():
        report_stage(f"{count_text(splits, 'split')} of {count_text(used, 'run')}")
        rows.append(_row(runs, used, [draw_halves(seed, ratio_ppm, len(runs), used, split) for split in range(splits)]))
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(ratio=ratio_ppm / PPM)


def _forgettability(sequence: RunSequence) -> _Run:
    run = forgetting_of(sequence)
    # In the smallest type for whole numbers from -1 to the number of epochs.
    return np.where(run.presented, run.forgettability, -1).astype(np.min_scalar_type(-run.epochs - 1))


def _pairs(runs: int, most: int, seed: int) -> list[tuple[Integers, Integers]]:
    """Every pair of runs, or `most` of them at random, as halves of one run each."""
    pairs = list(combinations(range(runs), 2)) if runs * (runs - 1) // 2 <= most else _random_pairs(runs, most, seed)
    return [(np.array([one]), np.array([other])) for one, other in pairs]


def _random_pairs(runs: int, number: int, seed: int) -> list[tuple[int, int]]:
    random = np.random.default_rng([seed, runs])
    drawn: set[tuple[int, int]] = set()
    while len(drawn) < number:
        one, other = sorted(random.choice(runs, 2, replace=False).tolist())
        drawn.add((one, other))
    return sorted(drawn)


def _row(runs: Sequence[_Run], used: int, halves: Sequence[tuple[Integers, Integers]]) -> dict[str, float]:
    """Means and standard deviations over comparisons of two halves."""
    frame = pd.DataFrame([correlations(_mean(runs, one), _mean(runs, other)) for one, other in halves])
    row = {"runs": used, "runs_per_half": used // 2, "comparisons": len(halves), "examples": frame["examples"].mean()}
    for name in _AVERAGED:
        row |= {name: frame[name].mean(), f"{name}_sd": frame[name].std()}
    return row


def _mean(runs: Sequence[_Run], half: Integers) -> Floats:
    """Over some of the runs, NaN where none of them was shown the example."""
    total, shown = np.zeros((2, len(runs[0])), dtype=np.int64)
    for k in half:
        total += np.maximum(runs[k], 0)
        shown += runs[k] >= 0
    return group_mean(total, shown, "nan")

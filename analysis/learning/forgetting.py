"""Forgetting events: presentations at which an example is misclassified after it was classified correctly.

With c_1, c_2, ... c_P the correctness of an example at its P presentations in a run,

    events        = #{p > 1: c_{p-1} = 1, c_p = 0}
    first learned = the epoch of the first presentation with c = 1; without one, the run never learned the example

M. Toneva, A. Sordoni, R. Tachet des Combes, A. Trischler, Y. Bengio and G. J. Gordon, "An empirical study of example
forgetting during deep neural network learning", ICLR 2019. An epoch that did not show the example counts for nothing: a
presentation is compared with the one before it, however long ago that was.

An example that a run never learned has no event in it, and would rank as the easiest. So it counts as the run's number
of epochs E in `forgettability`, as in the paper's published code: at most E / 2 events are possible. `unforgettable`
is that code's too: every run that was shown the example learned it and none forgot it, so that forgettability is 0.

Limits `low` and `high` are of the mean over runs (`analysis.statistics.run_means`): of events as counts, of the first
epoch and of the accuracy as values within bounds. Where all runs agree and the standard error is 0, they still have a
width. Forgettability has none: it puts a number of epochs in place of events, so that its spread tells how often the
example was never learned, and not how well the mean is known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import check_random_subsets
from analysis.reading.sequences import At, RunSequence, no_run_error, scan_sequences
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.means import group_mean
from analysis.statistics.moments import RunMoments
from analysis.statistics.run_means import bounded_interval, count_interval
from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Integers
from workers.store import Store

COLUMNS = (
    *("ratio", "example_id", "label", "given_label", "n_runs"),
    *("forgetting", "forgetting_se", "forgetting_low", "forgetting_high", "forgetting_total"),
    *("n_learned", "first_learned", "first_learned_se", "first_learned_low", "first_learned_high"),
    *("accuracy", "accuracy_se", "accuracy_low", "accuracy_high"),
    *("n_unforgettable", "unforgettable", "never_learned", "never_presented", "forgettability"),
)

OnRunForgetting = Callable[[Run, "Forgetting"], None]


@dataclass(frozen=True)
class Forgetting:
    """One run's forgetting, of each example: arrays of length N.

    `presentations` of the `epochs` that the run has, how many of them were `correct`, the forgetting `events` among
    them, and the number (from 1) of the epoch at which it was `first_learned`, 0 where it never was.
    """

    epochs: int
    presentations: Integers
    correct: Integers
    events: Integers
    first_learned: Integers

    @property
    def presented(self) -> Bools:
        """Whether it was shown at all."""
        return self.presentations > 0

    @property
    def learned(self) -> Bools:
        """Whether it was right at least once."""
        return self.first_learned > 0

    @property
    def unforgettable(self) -> Bools:
        """Whether it was learned, and never forgotten."""
        unforgettable: Bools = self.learned & (self.events == 0)
        return unforgettable

    @property
    def forgettability(self) -> Integers:
        """Events; the number of epochs where it was never learned; 0, which means nothing, where it was not shown."""
        return np.where(self.presented & ~self.learned, self.epochs, self.events)


def count_forgetting(seen: Bools, correct: Bools, epochs: Integers) -> Forgetting:
    """The forgetting in one run: `seen` and `correct` are bool[E, N], `epochs` int64[E] the epochs' numbers."""
    right = seen & correct
    events, first_learned = np.zeros((2, seen.shape[1]), dtype=np.int64)
    before = np.zeros(seen.shape[1], dtype=bool)
    """Right at the last presentation so far."""
    for epoch, shown, now in zip(epochs, seen, right, strict=True):
        events += before & shown & ~now
        first_learned[now & (first_learned == 0)] = epoch
        before = np.where(shown, now, before)
    return Forgetting(
        epochs=len(epochs),
        presentations=seen.sum(axis=0, dtype=np.int64),
        correct=right.sum(axis=0, dtype=np.int64),
        events=events,
        first_learned=first_learned,
    )


def forgetting_of(sequence: RunSequence) -> Forgetting:
    """The forgetting in one run."""
    return count_forgetting(sequence.seen, sequence.correct, sequence.epochs)


@dataclass(frozen=True)
class RatioForgetting:
    """Forgetting at one ratio, over `runs` runs that did not diverge: of each example, those that were shown it.

    `events`, `forgettability` and `first` (epochs in which it was first right) are sums over the runs; `unforgettable`
    counts those that learned it and did not forget it. The moments have no value where a run was not shown it, or did
    not learn it (`first_learned`).
    """

    ratio_ppm: int
    runs: int
    epochs: int
    """The last epoch that any run was looked at."""
    events: Integers
    forgettability: Integers
    first: Integers
    unforgettable: Integers
    events_moments: RunMoments
    first_learned: RunMoments
    accuracy: RunMoments

    def frame(self, labels: Labels, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """One row per example, with COLUMNS. Raises EstimateError for a bad `confidence`."""
        n_runs, n_learned = self.events_moments.n, self.first_learned.n
        limits = self._limits(confidence)
        frame = labels.columns().assign(
            ratio=self.ratio_ppm / PPM,
            n_runs=n_runs,
            # Quotients of whole numbers, so that equal means are equal to the last bit, and have one rank.
            forgetting=group_mean(self.events, n_runs, "nan"),
            forgetting_se=self.events_moments.se,
            **limits,
            forgetting_total=self.events,
            n_learned=n_learned,
            first_learned=group_mean(self.first, n_learned, "nan"),
            first_learned_se=self.first_learned.se,
            accuracy=self.accuracy.mean,
            accuracy_se=self.accuracy.se,
            n_unforgettable=self.unforgettable,
            unforgettable=(n_runs > 0) & (self.unforgettable == n_runs),
            never_learned=(n_runs > 0) & (n_learned == 0),
            never_presented=n_runs == 0,
            forgettability=group_mean(self.forgettability, n_runs, "nan"),
        )
        return frame[list(COLUMNS)]

    def _limits(self, confidence: float) -> dict[str, npt.NDArray[np.float64]]:
        """low and high of forgetting, first_learned and accuracy; NaN where the mean is."""
        limits_of: dict[str, npt.NDArray[np.float64]] = {}
        of_columns = {"forgetting": self.events_moments, "first_learned": self.first_learned, "accuracy": self.accuracy}
        bounds = {"first_learned": (1.0, float(max(self.epochs, 1))), "accuracy": (0.0, 1.0)}
        for name, column in of_columns.items():
            if name in bounds:
                limits = bounded_interval(column.mean, column.sd, column.units, bounds[name], confidence)
            else:
                limits = count_interval(column.mean, column.sd, column.units, confidence)
            for part, limit in zip(("low", "high"), limits, strict=True):
                limits_of[f"{name}_{part}"] = np.where(column.n > 0, limit, np.nan)
        return limits_of


def estimate_forgetting(
    store: Store,
    ratio: float | None = None,
    at: At = "presentations",
    *,
    confidence: float = CONFIDENCE,
    observe: OnRunForgetting | None = None,
) -> pd.DataFrame:
    """One row per ratio and example, with COLUMNS, over the runs that did not diverge.

    `n_runs` of them were shown the example, `n_learned` learned it, in `n_unforgettable` it was learned and never
    forgotten. `forgetting` is the mean number of events in a run, `forgetting_total` their sum; `first_learned` the
    mean epoch over the runs that learned it; `accuracy` the share of its presentations that were correct, averaged over
    runs (cumulative accuracy); `_se` the standard errors of these means, sample standard deviation / sqrt(n), NaN under
    two runs, `_low` and `_high` their limits at the level `confidence`. `unforgettable`: every run that was shown it
    learned it and none forgot it; `never_learned`: shown, and learned by no run; `never_presented`: shown to no run,
    and every mean is NaN. `forgettability` ranks: the mean of the events, or, in runs that never learned it, of the
    number of epochs.

    `observe` is called with each run and its own forgetting. `at` tells when correctness is looked at: see
    `analysis.reading.sequences`. A ratio whose runs all diverged is left out. Raises EstimateError as `scan_sequences`,
    where subsets are explicit (runs of different rules have no common mean), where no run is left, and for a bad
    `confidence`.
    """
    check_confidence(confidence)
    labels = read_labels(store)
    frames = [each.frame(labels, confidence) for each in sum_forgetting(store, ratio, at, observe)]
    return pd.concat(frames, ignore_index=True)


def recorded_at(store: Store) -> At | None:
    """When a store's forgetting can be looked at: at presentations if they are recorded, else at evaluations.

    None where there is one evaluation of each run.
    """
    if store.header.record.presentations:
        return "presentations"
    return "evaluations" if store.header.rows_per_run > 1 else None


def sum_forgetting(
    store: Store, ratio: float | None = None, at: At = "presentations", observe: OnRunForgetting | None = None
) -> list[RatioForgetting]:
    """The sums at each ratio, ascending, in one pass over the store; ratios whose runs all diverged are left out.

    `observe` is called with each run and its forgetting. Memory is bounded by one row group and the sums. Raises
    EstimateError as `estimate_forgetting`.
    """
    check_random_subsets(store)
    sums: dict[int, _Sums] = {}
    for sequence in scan_sequences(store, at, ratio):
        ratio_ppm = sequence.run.ratio_ppm
        if ratio_ppm not in sums:
            sums[ratio_ppm] = _Sums(ratio_ppm, store.header.num_train)
        of_run = forgetting_of(sequence)
        sums[ratio_ppm].add(of_run, int(sequence.epochs[-1]), sequence.group)
        if observe is not None:
            observe(sequence.run, of_run)
    if not sums:
        raise no_run_error(store)
    return [sums[ratio_ppm].counted() for ratio_ppm in sorted(sums)]


class _Sums:
    """What a `RatioForgetting` is made of, run after run."""

    def __init__(self, ratio_ppm: int, num_train: int) -> None:
        self.ratio_ppm = ratio_ppm
        self._runs = self._epochs = 0
        self._events, self._forgettability, self._first, self._unforgettable = np.zeros((4, num_train), dtype=np.int64)
        self._moments = {name: RunMoments((num_train,)) for name in ("events_moments", "first_learned", "accuracy")}

    def add(self, run: Forgetting, last: int, group: int | None) -> None:
        """A run's forgetting; `last` is the last epoch that was looked at, `group` as in `RunMoments.add`."""
        self._runs += 1
        self._epochs = max(self._epochs, last)
        self._events += run.events
        self._forgettability += run.forgettability
        self._first += run.first_learned
        self._unforgettable += run.unforgettable
        self._moments["events_moments"].add(np.where(run.presented, run.events, np.nan), group)
        self._moments["first_learned"].add(np.where(run.learned, run.first_learned, np.nan), group)
        self._moments["accuracy"].add(group_mean(run.correct, run.presentations, "nan"), group)

    def counted(self) -> RatioForgetting:
        return RatioForgetting(
            ratio_ppm=self.ratio_ppm,
            runs=self._runs,
            epochs=self._epochs,
            events=self._events,
            forgettability=self._forgettability,
            first=self._first,
            unforgettable=self._unforgettable,
            **self._moments,
        )

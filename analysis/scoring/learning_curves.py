"""Learning curves of groups of examples, and how early the groups are learned.

    a_k(G, e)      = mean_{i in G, seen by k at epoch e} c_ke(i)
    learning(G, e) = mean_k a_k(G, e)
    area(G)        = mean_k mean_e a_k(G, e)
    epoch(G)       = mean_k min {e : a_k(G, e) >= level}       one after the last for a run that never gets there

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021: the
learning speed of groups of one C-score, under several optimizers. Standard errors and limits are over runs, with the
groups as they are: limits of values between bounds (`analysis.statistics.run_means`).
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.sequences import At, RunSequence, scan_sequences
from analysis.scoring.groups import Groups
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.moments import RunMoments
from analysis.statistics.run_means import bounded_interval
from workers.campaign.campaign import PPM
from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError
from workers.store import Store

LEVEL = 0.9
"""Correctness at which a group counts as learned."""
LEARNING_COLUMNS = ("at", "ratio", "group", "name", "epoch", "runs", "correctness", "sd", "se")
SPEED_COLUMNS = (
    *("at", "ratio", "group", "name", "examples", "runs", "level", "reached"),
    *(f"{name}{part}" for name in ("epoch", "area") for part in ("", "_se", "_low", "_high")),
)


def learning_curves(store: Store, groups: Groups, at: At = "presentations", ratio: float | None = None) -> pd.DataFrame:
    """One row per ratio (None: every committed one), group and epoch, with LEARNING_COLUMNS.

    `correctness` is the share of the group's examples that a run got right among those it looked at in that epoch,
    averaged over the `runs` that looked at any; `sd` is over runs, `se` = sd / sqrt(runs), NaN under two. Raises
    EstimateError as `scan_sequences`.
    """
    moments: dict[int, RunMoments] = {}
    epochs: Integers = np.zeros(0, dtype=np.int64)
    for sequence, shares in _shares_of_runs(store, groups, at, ratio):
        epochs = sequence.epochs
        moments.setdefault(sequence.run.ratio_ppm, RunMoments(shares.shape)).add(shares, sequence.group)
    frames = [_curve(at, ratio_ppm / PPM, epochs, groups, moment) for ratio_ppm, moment in sorted(moments.items())]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(LEARNING_COLUMNS))


def learning_speed(
    store: Store,
    groups: Groups,
    at: At = "presentations",
    ratio: float | None = None,
    *,
    level: float = LEVEL,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """One row per ratio (None: every committed one) and group, with SPEED_COLUMNS.

    `epoch` is the first recorded one at which a run gets `level` of the group right, averaged over the `runs` that
    looked at any of it; a run that never does counts as the last epoch plus 1, `reached` is the share of the others.
    `area` is a run's mean correctness over the epochs. Standard errors are over runs, NaN under two. Raises
    EstimateError as `scan_sequences`, for a level outside of 0 to 1 and for a bad `confidence`.
    """
    check_confidence(confidence)
    if not 0 < level <= 1:
        raise EstimateError(f"level must be more than 0 and at most 1, got {level!r}")
    found: dict[int, tuple[RunMoments, RunMoments, RunMoments]] = {}
    last = 0
    for sequence, shares in _shares_of_runs(store, groups, at, ratio):
        last = int(sequence.epochs[-1])
        size = shares.shape[1:]
        moments = found.setdefault(sequence.run.ratio_ppm, (RunMoments(size), RunMoments(size), RunMoments(size)))
        for moment, values in zip(moments, _speed(shares, sequence.epochs, level), strict=True):
            moment.add(values, sequence.group)
    rows = []
    for ratio_ppm, (epoch, area, reached) in sorted(found.items()):
        limits = {
            "epoch": bounded_interval(epoch.mean, epoch.sd, epoch.units, (1.0, last + 1.0), confidence),
            "area": bounded_interval(area.mean, area.sd, area.units, (0.0, 1.0), confidence),
        }
        for group, name in enumerate(groups.names):
            row = {"at": at, "ratio": ratio_ppm / PPM, "group": group, "name": name, "level": level}
            row |= {"examples": int(groups.members(group).sum()), "runs": int(area.n[group])}
            row |= {"reached": float(reached.mean[group])}
            for quantity, moment in (("epoch", epoch), ("area", area)):
                row |= {quantity: float(moment.mean[group]), f"{quantity}_se": float(moment.se[group])}
                row |= {f"{quantity}_{end}": float(limits[quantity][side][group]) for side, end in enumerate(_ENDS)}
            rows.append(row)
    frame = pd.DataFrame(rows, columns=list(SPEED_COLUMNS))
    return frame[frame["runs"] > 0].reset_index(drop=True)


_ENDS = ("low", "high")


def recorded_kinds(store: Store) -> tuple[At, ...]:
    """The kinds of predictions that a store has at several epochs of each run: those with learning curves."""
    presented: tuple[At, ...] = ("presentations",) if store.header.record.presentations else ()
    return (*presented, "evaluations", "heldout") if store.header.rows_per_run > 1 else presented


def _shares_of_runs(
    store: Store, groups: Groups, at: At, ratio: float | None
) -> Iterator[tuple[RunSequence, npt.NDArray[np.float64]]]:
    """Each run and float64[E, G], the share of each group that it got right; NaN where it looked at none of it."""
    members = np.stack([groups.members(group) for group in range(len(groups.names))], axis=1).astype(np.float32)
    for sequence in scan_sequences(store, at, ratio):
        # Counts under 2^24 are exact in float32.
        seen, right = (
            (bits.astype(np.float32) @ members).astype(np.float64) for bits in (sequence.seen, sequence.correct)
        )
        yield sequence, np.where(seen > 0, right / np.maximum(seen, 1), np.nan)


def _speed(shares: Floats, epochs: Integers, level: float) -> tuple[Floats, Floats, Floats]:
    """float64[G] of one run: the first epoch at the level, the mean over epochs, and 1 where it got there, else 0.

    NaN where the run looked at none of the group. A NaN among `shares` [E, G] is an epoch that showed none of it.
    """
    looked = ~np.isnan(shares)
    some, there = looked.any(axis=0), np.nan_to_num(shares, nan=-1.0) >= level
    reached = there.any(axis=0)
    first = np.where(reached, epochs[there.argmax(axis=0)], epochs[-1] + 1)
    area = np.where(looked, shares, 0.0).sum(axis=0) / np.maximum(looked.sum(axis=0), 1)
    return np.where(some, first, np.nan), np.where(some, area, np.nan), np.where(some, reached, np.nan)


def _curve(at: At, ratio: float, epochs: Integers, groups: Groups, moments: RunMoments) -> pd.DataFrame:
    shape = (len(groups.names), len(epochs))
    frame = pd.DataFrame(
        {
            "at": at,
            "ratio": ratio,
            "group": np.repeat(np.arange(shape[0]), shape[1]),
            "name": np.repeat(np.array(groups.names, dtype=object), shape[1]),
            "epoch": np.tile(epochs, shape[0]),
            "runs": moments.n.T.ravel(),
            "correctness": moments.mean.T.ravel(),
            "sd": moments.sd.T.ravel(),
            "se": moments.se.T.ravel(),
        }
    )
    return frame[frame["runs"] > 0][list(LEARNING_COLUMNS)]

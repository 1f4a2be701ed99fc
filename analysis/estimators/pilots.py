"""Variances of pilot runs: the distribution over the examples of V, the unit variance of mem.

    V_i = p_in (1 - p_in) / s + p_out (1 - p_out) / (1 - s)          SE_i(n)^2 = V_i / n

A percentile of V over the examples cannot be read off a few runs: means smoothed one by one (Jeffreys) make every
example that was always right look uncertain, which planned 7 times the runs that were needed after a pilot of 10;
means as they are make most examples look certain. So the examples are taken for draws from one distribution, which all
of them together tell well (empirical Bayes): p_in from a beta distribution, p_out from another, their parameters by
maximum likelihood of the beta-binomial counts. Each example's p_in and p_out are then drawn from their posterior
distributions, and the percentile is that of V of the draws: averaged over the posteriors, they have the fitted
distribution. H. Robbins, "An empirical Bayes approach to statistics", Berkeley Symposium 1956; B. Efron, "Large-scale
inference", 2010, ch. 1. One example more that was right once in two runs keeps the fit from being certain of anything.

The range is that of REPLICATES pilots of the same size whose examples are drawn from the posteriors, each planned from
in the same way: by what factors, from the 5th to the 95th percentile, they are over or under what is true of these
examples. The factors are squared, since the luck that examples of one run share is not drawn. `benchmarks.planning`
compares plans with what was needed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.estimators.standard_errors import P90, percentile
from analysis.reading.counts import RatioCounts
from workers.common.arrays import Floats, Integers

REPLICATES = 20
_RANGE = (0.05, 0.95)
_EXAMPLES = 2_000
"""Examples of a pilot that is drawn: more of them change its percentiles little."""
_MAX_LOG = 12.0
"""Of a beta distribution's parameters: beyond it has no width."""
_EPSILON = 1e-9


@dataclass(frozen=True)
class PlannedVariance:
    """V's median and 90th percentile (`p90`) over examples, with a range, estimated from `runs` pilot runs."""

    runs: int
    median: float
    p90: float
    p90_low: float
    p90_high: float


@dataclass(frozen=True)
class _Pilot:
    """Counts of examples, int64[N] each, and the share m / N of a subset."""

    correct_in: Integers
    n_in: Integers
    correct_out: Integers
    n_out: Integers
    share: float


_Beta = tuple[float, float]


def planned_variance(at: RatioCounts) -> PlannedVariance | None:
    """What the runs of a ratio tell of V; None where no run is left, or no example was held out.

    The same for the same counts: what is drawn has a seed of its own.
    """
    held = at.n_in.mean() / at.runs if at.runs else 0.0  # m / N: every run holds m examples
    if not 0 < held < 1:
        return None
    random = np.random.default_rng([at.ratio_ppm, at.runs])
    pilot = _Pilot(at.correct_in, at.n_in, at.correct_out, at.n_out, held)
    model = _fitted(pilot)
    drawn = _drawn(pilot, model, random)
    median, p90 = percentile(drawn, 0.5), percentile(drawn, P90)
    chosen = random.choice(len(at.n_in), min(_EXAMPLES, len(at.n_in)), replace=False)
    part = _of(pilot, chosen)
    few, many = np.quantile([_replicate(part, model, random) for _ in range(REPLICATES)], _RANGE)
    largest = 0.25 / held + 0.25 / (1 - held)
    # A pilot that says a third of the truth is as likely as the truth being three times what this one says.
    low, high = p90 / max(many, 1.0) ** 2, min(p90 / max(min(few, 1.0) ** 2, _EPSILON), largest)
    return PlannedVariance(at.runs, median, p90, float(low), float(high))


def _of(pilot: _Pilot, chosen: npt.NDArray[np.int64]) -> _Pilot:
    columns = (pilot.correct_in, pilot.n_in, pilot.correct_out, pilot.n_out)
    correct_in, n_in, correct_out, n_out = (column[chosen] for column in columns)
    return _Pilot(correct_in, n_in, correct_out, n_out, pilot.share)


def _fitted(pilot: _Pilot) -> tuple[_Beta, _Beta]:
    return fit_beta(pilot.correct_in, pilot.n_in), fit_beta(pilot.correct_out, pilot.n_out)


def fit_beta(correct: Integers, runs: Integers) -> _Beta:
    """The parameters (a, b) of the beta distribution under which these counts are most likely.

    correct_i of runs_i, int64[N], is binomial with p_i drawn from it.
    """
    from scipy.optimize import minimize
    from scipy.special import betaln

    keys = np.concatenate([np.stack([correct, runs]), [[1], [2]]], axis=1)
    distinct, times = np.unique(keys, axis=1, return_counts=True)
    right, wrong = distinct[0], distinct[1] - distinct[0]

    def loss(logs: Floats) -> float:
        a, b = np.exp(np.clip(logs, -_MAX_LOG, _MAX_LOG))
        return -float((times * (betaln(right + a, wrong + b) - betaln(a, b))).sum())

    share = np.clip(right @ times / max(distinct[1] @ times, 1), 0.01, 0.99)
    optimum = minimize(loss, np.log([share, 1 - share]), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    a, b = np.exp(np.clip(optimum.x, -_MAX_LOG, _MAX_LOG))
    return float(a), float(b)


def _drawn(pilot: _Pilot, model: tuple[_Beta, _Beta], random: np.random.Generator) -> Floats:
    """V of one draw from each example's posterior: float64[N]."""
    return _variance(*_posterior(pilot, model, random), pilot.share)


def _posterior(pilot: _Pilot, model: tuple[_Beta, _Beta], random: np.random.Generator) -> tuple[Floats, Floats]:
    """One draw of each example's p_in and p_out."""
    (a_in, b_in), (a_out, b_out) = model
    p_in = random.beta(pilot.correct_in + a_in, pilot.n_in - pilot.correct_in + b_in)
    p_out = random.beta(pilot.correct_out + a_out, pilot.n_out - pilot.correct_out + b_out)
    return p_in, p_out


def _replicate(pilot: _Pilot, model: tuple[_Beta, _Beta], random: np.random.Generator) -> float:
    """The 90th percentile that a simulated pilot of the same size gives, relative to the true one.

    Truths are drawn from the posteriors, p_in and p_out of an example together.
    """
    p_in, p_out = _posterior(pilot, model, random)
    right_in, right_out = random.binomial(pilot.n_in, p_in), random.binomial(pilot.n_out, p_out)
    other = _Pilot(right_in, pilot.n_in, right_out, pilot.n_out, pilot.share)
    replicated = percentile(_drawn(other, _fitted(other), random), P90)
    return replicated / max(percentile(_variance(p_in, p_out, pilot.share), P90), _EPSILON)


def _variance(p_in: Floats, p_out: Floats, share: float) -> Floats:
    return p_in * (1 - p_in) / share + p_out * (1 - p_out) / (1 - share)

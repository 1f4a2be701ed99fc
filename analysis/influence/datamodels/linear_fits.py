"""Linear predictors of a model's output from its training subset: ridge, lasso, and influence.

For run k with subset S_k, x_k(i) = 1[i in S_k] less its mean over the runs, and output y_k (one test example's):

    ridge      w = argmin sum_k (y_k - b - x_k w)^2 + penalty |w|_2^2
    lasso      w = argmin sum_k (y_k - b - x_k w)^2 / (2 runs) + penalty |w|_1
    influence  w_i = mean_{k: i in S_k} y_k - mean_{k: i not in S_k} y_k, 0 where a mean has no run

A. Ilyas, S. M. Park, L. Engstrom, G. Leclerc, A. Madry, "Datamodels: predicting predictions from training data", ICML
2022, fit the lasso. The penalty is chosen for each output by cross-validation over the runs: see each class.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from analysis.reading.membership import Membership
from workers.common.arrays import Floats

if TYPE_CHECKING:
    from sklearn.linear_model import LassoCV

Method = Literal["ridge", "lasso"]

RIDGE_PENALTIES = np.logspace(-3, 3, 13)
"""Over the mean eigenvalue of x x^T."""
LASSO_FOLDS = 5
LASSO_PENALTIES = 15
"""In each power of ten."""
LASSO_DECADES = 3


class Fit(Protocol):
    """A way to fit, bound to the subsets of the fitted runs; `outputs_at_once` is how many it is best given."""

    outputs_at_once: int

    def weights(self, outputs: Floats) -> tuple[Floats, Floats]:
        """For outputs float64[runs, B]: weights float64[B, N], and the penalties float64[B] that were chosen.

        An output that is the same in all runs has weights of 0 and the penalty NaN.
        """


class RidgeFit:
    """Ridge regression in its dual form, so that it costs runs^2 rather than N^2.

    The penalty is the one of RIDGE_PENALTIES with the least squared error on runs left out one at a time.
    """

    outputs_at_once = 1000

    def __init__(self, members: Membership) -> None:
        self._members = members
        values, vectors = np.linalg.eigh(members.gram())
        # The runs' coordinates in the space that their subsets span: ridge in it is ridge on x (it knows inner products
        # alone). Centring takes one dimension, equal subsets take others.
        spanned = values > values[-1] * len(values) * np.finfo(np.float64).eps
        self._coordinates = vectors[:, spanned] * np.sqrt(values[spanned])
        self._back = vectors[:, spanned] / np.sqrt(values[spanned])
        self._penalties = RIDGE_PENALTIES * values.mean()

    def weights(self, outputs: Floats) -> tuple[Floats, Floats]:
        """See `Fit.weights`."""
        from sklearn.linear_model import RidgeCV

        fitted = RidgeCV(self._penalties, alpha_per_target=True).fit(self._coordinates, outputs)
        # RidgeCV drops the dimension of a single output.
        coefficients = fitted.coef_.reshape(outputs.shape[1], -1)
        # A constant less its mean is not always 0 in floating point.
        varies = np.ptp(outputs, axis=0) > 0
        weights = self._members.combine(self._back @ (coefficients * varies[:, None]).T)
        return weights, np.where(varies, fitted.alpha_, np.nan)


class LassoFit:
    """Lasso by coordinate descent, one output after the other.

    The penalty is the one with the least mean squared error in LASSO_FOLDS folds of consecutive runs, among
    LASSO_PENALTIES in geometric progression, from the least one at which every weight is 0 down to a tenth of it. Where
    the smallest is the best, smaller ones are tried: a hundredth, a thousandth. Holds the subsets as float64 twice.
    """

    outputs_at_once = 20

    def __init__(self, members: Membership) -> None:
        self._regressors = np.asfortranarray(members.dense())

    def weights(self, outputs: Floats) -> tuple[Floats, Floats]:
        """See `Fit.weights`."""
        weights = np.zeros((outputs.shape[1], self._regressors.shape[1]))
        penalties = np.full(outputs.shape[1], np.nan)
        for index, output in enumerate(outputs.T):
            if np.ptp(output) > 0:
                fitted = self._fit(output)
                weights[index], penalties[index] = fitted.coef_, fitted.alpha_
        return weights, penalties

    def _fit(self, output: Floats) -> "LassoCV":
        from sklearn.linear_model import LassoCV

        # Small penalties are slow and seldom the best.
        for decades in range(1, LASSO_DECADES + 1):
            fitted = LassoCV(eps=10.0**-decades, alphas=LASSO_PENALTIES * decades, cv=LASSO_FOLDS, max_iter=10_000)
            fitted.fit(self._regressors, output)
            if fitted.alpha_ > fitted.alphas_.min():
                break
        return fitted


class InfluenceFit:
    """Differences of means: no regression, every example by itself."""

    def __init__(self, members: Membership) -> None:
        self._members = members
        variance = members.mean * (1 - members.mean)
        # Rounding must not make an example that all runs or none trained on the most influential one.
        varies = np.minimum(members.mean, 1 - members.mean) * len(members.subsets) > 0.5
        self._scale = np.divide(1 / len(members.subsets), variance, out=np.zeros_like(variance), where=varies)

    def weights(self, outputs: Floats) -> Floats:
        """For outputs float64[runs, B]: weights float64[B, N]."""
        # mean_A y - mean_B y = sum_k x_k(i) y_k / (runs p_i (1 - p_i)), with p_i the share of runs that trained on i.
        return self._members.combine(outputs) * self._scale


FITS: dict[Method, Callable[[Membership], Fit]] = {"ridge": RidgeFit, "lasso": LassoFit}

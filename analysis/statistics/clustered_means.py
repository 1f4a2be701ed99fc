"""Mean correctness of runs that come in clusters: the runs of one subset (`subsets.replicates`).

Runs of one subset differ in training alone, so that they agree more than runs of different subsets do, and n of them
tell less than n independent ones. With the G clusters of a group of runs, n_c runs in cluster c of which y_c are right,
n = sum n_c and p = sum y_c / n,

    SE^2 = G / (G - 1) sum_c (y_c - p n_c)^2 / n^2

which is the variance of a mean of G independent subsets (K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using
generalized linear models", Biometrika 1986; W. G. Cochran, "Sampling techniques", 1977, ch. 9). It is never taken to be
less than p (1 - p) / n, that of independent runs, since a shared subset adds variance and cannot remove any.

Limits are Wilson's at the effective number of runs p (1 - p) / v, v = SE^2 t^2 / z^2 with Student's t of G - 1 degrees
of freedom and the normal z, as is done for surveys (E. L. Korn and B. I. Graubard, Survey Methodology 1998), at most n;
at G where all clusters agree or there is one. `tests/estimators/test_replicates.py` measures their coverage.
"""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.intervals import normal_quantile
from analysis.statistics.means import squared_se
from analysis.statistics.run_means import student_quantile
from workers.common.arrays import Bools, Floats, Integers


@dataclass(frozen=True)
class ClusterSums:
    """Sums over the clusters of a group of runs, int64[...]: their number, and of y_c^2, y_c n_c and n_c^2."""

    clusters: Integers
    squares: Integers
    products: Integers
    sizes: Integers

    def __add__(self, other: "ClusterSums") -> "ClusterSums":
        """The sums over the clusters of both."""
        return ClusterSums(
            self.clusters + other.clusters,
            self.squares + other.squares,
            self.products + other.products,
            self.sizes + other.sizes,
        )

    def __sub__(self, part: "ClusterSums") -> "ClusterSums":
        """The sums over the clusters outside a part of them."""
        return ClusterSums(
            self.clusters - part.clusters,
            self.squares - part.squares,
            self.products - part.products,
            self.sizes - part.sizes,
        )


def sum_clusters(correct: Integers, runs: Integers, chosen: Bools) -> ClusterSums:
    """Sums over the first axis: of int64[G, ...] right runs and int64[G, ...] runs of each cluster, where chosen."""
    some = chosen & (runs > 0)
    y, n = np.where(some, correct, 0), np.where(some, runs, 0)
    return ClusterSums(some.sum(axis=0), (y * y).sum(axis=0), (y * n).sum(axis=0), (n * n).sum(axis=0))


def clustered_variance(correct: Integers, runs: Integers, sums: ClusterSums) -> Floats:
    """SE^2 of correct / runs; NaN where there is one cluster or none."""
    deviation, p = _deviation(correct, runs, sums), correct / np.maximum(runs, 1)
    some = sums.clusters > 1
    scale = np.where(some, sums.clusters / np.maximum(sums.clusters - 1, 1), np.nan)
    return np.maximum(scale * deviation / np.maximum(runs, 1) ** 2.0, squared_se(p, runs))


def effective_runs(correct: Integers, runs: Integers, sums: ClusterSums, confidence: float) -> Floats:
    """The number of independent runs whose mean has the same limits; 0 where there is no run."""
    p = correct / np.maximum(runs, 1)
    ratio = student_quantile(confidence, np.asarray(sums.clusters, np.float64) - 1.0) / (
        normal_quantile(confidence) or 1.0
    )
    variance = clustered_variance(correct, runs, sums) * ratio**2
    known = (_deviation(correct, runs, sums) > 0) & (variance > 0)
    effective = np.where(known, p * (1 - p) / np.where(known, variance, 1.0), sums.clusters)
    return np.minimum(effective, runs)


def _deviation(correct: Integers, runs: Integers, sums: ClusterSums) -> Floats:
    """sum_c (y_c - p n_c)^2, exactly 0 where all clusters have the same share."""
    n = np.maximum(runs, 1)
    # Differences of whole numbers, which are 0 where they should be.
    first, second = sums.squares * n - correct * sums.products, sums.products * n - correct * sums.sizes
    return first / n - correct / n * (second / n)

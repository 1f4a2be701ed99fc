"""Linear datamodeling score: rank correlation of predicted outputs and the outputs of held-out runs.

    LDS(z) = Spearman correlation, over held-out runs k, of predicted and actual outputs on test example z

S. M. Park, K. Georgiev, A. Ilyas, G. Leclerc, A. Madry, "TRAK: attributing model behavior at scale", ICML 2023, eq. 3.

Standard errors are those of the grouped jackknife over held-out runs. All test examples share these runs, so that the
spread of their scores would not tell how sure their mean is.
"""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.jackknife import complete_jackknife_se, without_each_group
from analysis.statistics.means import mean_of_finite
from workers.common.arrays import Floats


@dataclass(frozen=True)
class DatamodelingScore:
    """LDS of each test example and its standard error (float64[T]); their mean over `tests`, those that have one."""

    lds: Floats
    se: Floats
    mean: float
    mean_se: float
    tests: int


def datamodeling_score(predicted: Floats, actual: Floats) -> DatamodelingScore:
    """LDS from predicted and actual outputs, float64[held-out runs, T].

    NaN where the actual output is the same in all runs: there is nothing to predict. 0 where only the prediction is.
    A standard error is NaN where the jackknife leaves nothing to predict.
    """
    lds = rank_correlation(predicted, actual)
    without = np.stack([rank_correlation(predicted[rows], actual[rows]) for rows in without_each_group(len(actual))])
    defined = ~np.isnan(lds)
    means = np.array([mean_of_finite(row[defined]) for row in without])
    return DatamodelingScore(
        lds=lds,
        se=complete_jackknife_se(without),
        mean=mean_of_finite(lds),
        mean_se=float(complete_jackknife_se(means)),
        tests=int(defined.sum()),
    )


def rank_correlation(predicted: Floats, actual: Floats) -> Floats:
    """Spearman correlation of each column of two float64[runs, T], ties at their mean rank: float64[T].

    NaN where `actual` is constant, 0 where only `predicted` is.
    """
    from scipy.stats import rankdata

    ours, theirs = (rankdata(each, axis=0) - (len(each) + 1) / 2 for each in (predicted, actual))
    ours_squared, theirs_squared = (ours**2).sum(axis=0), (theirs**2).sum(axis=0)
    scale = np.sqrt(ours_squared * theirs_squared)
    correlation = np.divide((ours * theirs).sum(axis=0), scale, out=np.zeros(len(scale)), where=scale > 0)
    return np.where(theirs_squared > 0, correlation, np.nan)

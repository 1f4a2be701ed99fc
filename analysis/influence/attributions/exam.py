"""Scores attributions by what retrained models did: the linear datamodeling score, its ceiling, and the share reached.

An attribution gives every pair of a training example i and a test example z a score a(i, z), and so predicts for a
subset S the output sum_{i in S} a(i, z). Over subsets S_1..S_n, with the mean output y_z of m runs of each:

    LDS(z) = Spearman correlation of sum_{i in S_k} a(i, z) and y_z(S_k) over k

S. M. Park et al., "TRAK: attributing model behavior at scale", ICML 2023, eq. 3. No attribution reaches 1, since y_z
also depends on the seeds of training. With r(z) the correlation over subsets of the outputs of two runs of each, the
mean of m runs has the reliability m r / (1 + (m - 1) r) (Spearman-Brown), and a predictor of the expected output
correlates with it as

    ceiling(z) = sqrt(m r(z) / (1 + (m - 1) r(z)))

r is estimated by rank correlations, the mean over pairs of runs, 0 where that is negative. Both LDS and ceiling are
means over the test examples whose outputs differ; a share is the quotient of the two means.

The counterfactual check needs no linearity: mean output of the subsets that hold more of a test example's most helpful
training examples than the average subset does, less that of those that hold fewer.

Standard errors are of the grouped jackknife over subsets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.influence.attributions.subset_outputs import SubsetOutputs
from analysis.influence.datamodels.datamodeling_score import datamodeling_score, rank_correlation
from analysis.statistics.jackknife import complete_jackknife_se, without_each_group
from analysis.statistics.means import mean_of_finite
from workers.common.arrays import Bools, Floats, Integers
from workers.errors import EstimateError

CEILING = "ceiling"


@dataclass(frozen=True)
class AttributionExam:
    """`scores` has a row for each attribution: attribution, lds, lds_se, share, share_se (of the ceiling; NaN with one
    run of each subset), effect, effect_se (of the counterfactual check). `examples` has a row for each attribution and
    test example: attribution, ratio, test_example_id, test_label, lds, se, effect. `tests` counts the test examples
    whose outputs differ between subsets."""

    truth: SubsetOutputs
    scores: pd.DataFrame
    examples: pd.DataFrame
    ceiling: float
    ceiling_se: float
    tests: int
    top: int


def score_attributions(truth: SubsetOutputs, attributions: Mapping[str, Floats], top: int = 10) -> AttributionExam:
    """The exam of attributions float64[N, T] by name; `top` helpful examples are those of the counterfactual check.

    Raises EstimateError for an attribution of another shape, and for a `top` that is not from 1 to N.
    """
    subsets, tests = truth.subsets, truth.source.tests
    if not 1 <= top <= subsets.shape[1]:
        raise EstimateError(f"top must be from 1 to {subsets.shape[1]}, got {top!r}")
    for name, values in attributions.items():
        if values.shape != (subsets.shape[1], len(tests)):
            shape = (subsets.shape[1], len(tests))
            raise EstimateError(f"attribution {name!r} must have the shape {shape}, got {values.shape}")
    predicted = {name: subsets @ values for name, values in attributions.items()}
    helpful = {name: _helpful_in(subsets, values, top) for name, values in attributions.items()}
    varies = np.ptp(truth.means, axis=0) > 0
    whole = _measure(truth, predicted, helpful, varies, np.arange(len(subsets)))
    rows_without = without_each_group(len(subsets))
    replicates = np.stack([_measure(truth, predicted, helpful, varies, rows) for rows in rows_without])
    errors = complete_jackknife_se(replicates)
    columns = ("lds", "share", "effect")
    scores = pd.DataFrame({"attribution": list(attributions)})
    for place, column in enumerate(columns):
        scores[column], scores[f"{column}_se"] = whole[1 + place :: 3], errors[1 + place :: 3]
    return AttributionExam(
        truth=truth,
        scores=scores,
        examples=_examples(truth, predicted, helpful),
        ceiling=float(whole[0]),
        ceiling_se=float(errors[0]),
        tests=int(varies.sum()),
        top=top,
    )


def _measure(
    truth: SubsetOutputs, predicted: Mapping[str, Floats], helpful: Mapping[str, Floats], tests: Bools, rows: Integers
) -> Floats:
    """The ceiling, and for each attribution its LDS, share and effect: float64[1 + 3 attributions].

    `rows` int64[some] are the places of the subsets, `tests` bool[T] the test examples that are used.
    """
    outputs = truth.outputs[rows][:, :, tests]
    means = outputs.mean(axis=1)
    ceiling = mean_ceiling(outputs)
    values = [ceiling]
    for name, prediction in predicted.items():
        lds = mean_of_finite(rank_correlation(prediction[rows][:, tests], means))
        effect = mean_of_finite(_effects(helpful[name][rows][:, tests], means))
        values += [lds, lds / ceiling if ceiling > 0 else float("nan"), effect]
    return np.array(values)


def mean_ceiling(outputs: Floats) -> float:
    """The mean over test examples of the ceiling, from outputs float64[subsets, runs, T]; NaN with one run of each."""
    runs = outputs.shape[1]
    if runs < 2:
        return float("nan")
    pairs = [rank_correlation(outputs[:, i], outputs[:, j]) for i, j in combinations(range(runs), 2)]
    single = np.maximum(np.nan_to_num(np.mean(pairs, axis=0)), 0)
    return mean_of_finite(np.sqrt(runs * single / (1 + (runs - 1) * single)))


def _helpful_in(subsets: Bools, values: Floats, top: int) -> Floats:
    """float64[S, T]: how many of each test example's `top` training examples of highest score a subset holds."""
    places = np.argpartition(-values, top - 1, axis=0)[:top]
    chosen = np.zeros(values.shape)
    np.put_along_axis(chosen, places, 1, axis=0)
    return np.asarray(subsets @ chosen)


def _effects(helpful: Floats, means: Floats) -> Floats:
    """float64[T]: mean output where more of the helpful examples are in the subset than on average, less the others'.

    NaN where all subsets hold equally many.
    """
    centred = helpful - helpful.mean(axis=0)
    more, fewer = centred > 0, centred < 0
    with np.errstate(invalid="ignore"):
        effects: Floats = (means * more).sum(axis=0) / more.sum(axis=0) - (means * fewer).sum(axis=0) / fewer.sum(
            axis=0
        )
    return effects


def _examples(truth: SubsetOutputs, predicted: Mapping[str, Floats], helpful: Mapping[str, Floats]) -> pd.DataFrame:
    source, means, frames = truth.source, truth.means, []
    for name, prediction in predicted.items():
        score = datamodeling_score(prediction, means)
        columns = {
            "attribution": name,
            "ratio": source.ratio,
            "test_example_id": source.tests,
            "test_label": source.labels.test_label[source.tests],
            "lds": score.lds,
            "se": score.se,
            "effect": _effects(helpful[name], means),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)

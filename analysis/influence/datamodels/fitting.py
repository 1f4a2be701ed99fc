"""Fits linear datamodels: a test example's output as a linear function of the training subset.

    output_z(S) ~ b_z + sum_i w_z(i) 1[i in S]

A. Ilyas, S. M. Park, L. Engstrom, G. Leclerc, A. Madry, "Datamodels: predicting predictions from training data", ICML
2022. The output is the margin where the store records it, else correctness as 0 and 1. Fitted to a part of the runs
(`linear_fits` beside this file) and scored on the others (`datamodeling_score`), beside influence from the same runs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.influence.datamodels.datamodeling_score import DatamodelingScore, datamodeling_score
from analysis.influence.datamodels.linear_fits import FITS, InfluenceFit, Method
from analysis.reading.membership import Membership
from analysis.reading.names import with_names
from analysis.reading.outputs import RatioOutputs
from workers.campaign.campaign import PPM
from workers.common.arrays import Floats
from workers.common.progress import ProgressCallback
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store
from workers.store.files.base import open_files
from workers.store.parquet.table_file import encode

WEIGHT_COLUMNS = (
    *("ratio", "test_example_id", "test_label", "lds", "rank"),
    *("example_id", "label", "given_label", "weight", "n_in"),
)

MIN_FITTED, MIN_HELDOUT = 10, 5

_BLOCK_VALUES = 1 << 24
"""Weights held at a time, 128 MB."""


@dataclass(frozen=True)
class Datamodels:
    """Fitted datamodels of one ratio.

    `weights` has the examples of largest |weight| of each test example, with WEIGHT_COLUMNS: `rank` from 1, `n_in` the
    fitted runs that trained on the example, `lds` how well this test example's datamodel predicts. `scores` has a row
    per test example: ratio, test_example_id, test_label, lds, se, infl_lds, infl_se (the predictor that sums influence
    over the subset, from the same runs), penalty, n_fitted, n_heldout.
    """

    method: Method
    source: RatioOutputs
    fitted_runs: int
    heldout_runs: int
    seed: int
    weights: pd.DataFrame
    scores: pd.DataFrame
    score: DatamodelingScore
    influence_score: DatamodelingScore

    def write(self, store: Store, path: str | Path | None = None) -> str:
        """Write `weights` as a Parquet file, into estimates/datamodels_METHOD.parquet or to a path; returns where.

        Raises StoreError where the place cannot be written.
        """
        named = with_names(self.weights[list(WEIGHT_COLUMNS)], store)
        table = pa.table({column: named[column].to_numpy() for column in named.columns})
        source = self.source
        basis = {
            "fitted": self.fitted_runs,
            "heldout": self.heldout_runs,
            "seed": self.seed,
            "epoch": source.epoch,
            "diverged": source.diverged,
            "not_finite": source.not_finite,
            "saturated": source.saturated,
        }
        metadata = {
            "estimate": f"datamodels_{self.method}",
            "campaign": store.header.identity,
            "ratios": json.dumps({str(source.ratio): basis}),
            "output": source.output,
            "lds": json.dumps({"tests": self.score.tests, "mean": self.score.mean, "se": self.score.mean_se}),
        }
        if path is None:
            return store.write_estimate(metadata["estimate"], table, metadata)
        path = Path(path)
        open_files(path.parent).replace(path.name, encode(table, metadata))
        return str(path)


def fit_datamodels(
    source: RatioOutputs,
    *,
    method: Method = "ridge",
    top: int = 10,
    heldout: float = 0.2,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Datamodels:
    """Fit a datamodel to each test example of `source`, and score it on round(heldout x runs) runs, drawn with `seed`.

    Runs that share a subset (`subsets.replicates`) are averaged first; runs then stand for subsets.
    Of equal |weight| the smaller example id comes first; weights of 0 are left out. Holds runs x N bytes beside 512 MB;
    `lasso` about 20 x runs x N bytes more. Raises EstimateError for an invalid option, too few runs, or ratio 1.
    """
    _check_options(source, method, top)
    source = source.of_subsets()
    fitted, held = _split_runs(source, heldout, seed)
    members = Membership.centred(source.subsets[fitted])
    unseen = Membership(source.subsets[held], members.mean)
    if (members.subsets == members.subsets[0]).all():
        raise NoEstimateError(f"all {len(fitted)} fitted runs at ratio {source.ratio} have the same subset")
    fit, influence = FITS[method](members), InfluenceFit(members)
    count = len(source.tests)
    predicted, by_influence = np.empty((len(held), count)), np.empty((len(held), count))
    penalties, strongest = np.empty(count), []
    step = max(1, min(fit.outputs_at_once, _BLOCK_VALUES // max(members.subsets.shape)))
    for start in range(0, count, step):
        block = slice(start, start + step)
        outputs = source.outputs[fitted, block].astype(np.float64)
        by_influence[:, block] = unseen.predict(influence.weights(outputs))
        weights, penalties[block] = fit.weights(outputs)
        predicted[:, block] = unseen.predict(weights)
        strongest += [strongest_weights(row, top) for row in weights]
        if progress is not None:
            progress(min(start + step, count), count)
    actual = source.outputs[held].astype(np.float64)
    score, influence_score = (datamodeling_score(each, actual) for each in (predicted, by_influence))
    return Datamodels(
        method=method,
        source=source,
        fitted_runs=len(fitted),
        heldout_runs=len(held),
        seed=seed,
        weights=_weights_frame(source, strongest, score, members),
        scores=_scores_frame(source, score, influence_score, penalties, len(fitted), len(held)),
        score=score,
        influence_score=influence_score,
    )


def strongest_weights(weights: Floats, top: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """(example ids, weights) of the `top` largest |weight| of float64[N], descending; zeros left out."""
    size = np.abs(weights)
    count = min(top, len(size))
    candidates = np.flatnonzero(size >= max(np.partition(size, -count)[-count], np.finfo(np.float64).tiny))
    ids = candidates[np.argsort(-size[candidates], kind="stable")][:count].astype(np.int64)
    return ids, weights[ids]


def _check_options(source: RatioOutputs, method: Method, top: int) -> None:
    if method not in get_args(Method):
        raise EstimateError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if top < 1:
        raise EstimateError(f"top must be at least 1, got {top!r}")
    if source.ratio_ppm == PPM:
        raise EstimateError("ratio must be under 1: at ratio 1 every run has the same subset")


def _split_runs(source: RatioOutputs, heldout: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of the fitted and of the held-out runs, ascending."""
    if not 0 < heldout < 1:
        raise EstimateError(f"heldout must be greater than 0, less than 1, got {heldout!r}")
    if seed < 0:
        raise EstimateError(f"seed must be at least 0, got {seed!r}")
    count = round(heldout * source.runs)
    if count < MIN_HELDOUT or source.runs - count < MIN_FITTED:
        raise NoEstimateError(
            f"datamodels at ratio {source.ratio} need at least {MIN_HELDOUT} held-out runs and {MIN_FITTED} others, "
            f"got {count} and {source.runs - count}" + (f" ({source.diverged} diverged)" if source.diverged else "")
        )
    order = np.random.default_rng(seed).permutation(source.runs)
    return np.sort(order[count:]), np.sort(order[:count])


def _weights_frame(
    source: RatioOutputs,
    strongest: list[tuple[npt.NDArray[np.int64], Floats]],
    score: DatamodelingScore,
    members: Membership,
) -> pd.DataFrame:
    counts = [len(ids) for ids, _ in strongest]
    ids = np.concatenate([ids for ids, _ in strongest])
    tests = np.repeat(source.tests, counts)
    columns = {
        "ratio": np.full(len(ids), source.ratio),
        "test_example_id": tests,
        "test_label": source.labels.test_label[tests],
        "lds": np.repeat(score.lds, counts),
        "rank": np.concatenate([np.arange(1, count + 1) for count in counts]),
        "example_id": ids,
        "label": source.labels.label[ids],
        "given_label": source.labels.given_label[ids],
        "weight": np.concatenate([weights for _, weights in strongest]),
        "n_in": members.subsets[:, ids].sum(axis=0),
    }
    return pd.DataFrame(columns, columns=list(WEIGHT_COLUMNS))


def _scores_frame(
    source: RatioOutputs,
    score: DatamodelingScore,
    influence_score: DatamodelingScore,
    penalties: Floats,
    fitted: int,
    held: int,
) -> pd.DataFrame:
    columns = {
        "ratio": source.ratio,
        "test_example_id": source.tests,
        "test_label": source.labels.test_label[source.tests],
        "lds": score.lds,
        "se": score.se,
        "infl_lds": influence_score.lds,
        "infl_se": influence_score.se,
        "penalty": penalties,
        "n_fitted": fitted,
        "n_heldout": held,
    }
    return pd.DataFrame(columns)

"""Kernel-density proxies of the C-score: density of the data around each example, in pixels and in features.

See `workers.datasets.kernel_density` for the scores. A store holds outcomes and no models, so runs are trained again
for their penultimate-layer features.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from analysis import EstimateError, NoEstimateError
from analysis.reading.examples import read_labels
from analysis.reading.names import with_names
from analysis.reading.selection import scan_epoch, select_ratios
from orchestrator.frame_files import write_frame
from orchestrator.runners.local import available_device
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.arrays import Bools
from workers.common.progress import ProgressCallback, StageProgressCallback
from workers.datasets.kernel_density import KernelDensities, Vectors, kernel_densities
from workers.errors import ModelError
from workers.store import Store
from workers.training.device_data import DeviceData
from workers.training.penultimate_features import check_head, train_and_extract_features
from workers.training.store_data import load_store_data, trainable_campaign

ESTIMATE = "density"
BANDWIDTH_RULE = "half the mean Euclidean distance over pairs of different examples"


@dataclass(frozen=True)
class RetrainedRun:
    """A run that was trained again for its last hidden layer.

    `agreement` is the share of the training examples that its model gets right, or wrong, as the store's run does.
    """

    run: Run
    agreement: float
    bandwidth: float
    bandwidth_se: float


@dataclass(frozen=True)
class Densities:
    """`frame` has a row per example: example_id, label, given_label; input_density, input_density_same and
    input_density_relative (C, C^L, C^+-L); the same of hidden_density, the mean over `runs`.

    The hidden ones are NaN where the model has no head; `left_out` says why.
    """

    frame: pd.DataFrame
    input_bandwidth: float
    input_bandwidth_se: float
    runs: tuple[RetrainedRun, ...]
    left_out: str | None = None

    def write(self, store: Store, output: Path | None = None) -> str:
        """Write `frame` into the store's estimates/density.parquet, or elsewhere; returns where that is.

        In the store its metadata tell the kernel, the bandwidths and the runs. Raises StoreError or LongtailError.
        """
        if output is not None:
            write_frame(with_names(self.frame, store), output)
            return str(output)
        table = pa.table({column: self.frame[column].to_numpy() for column in self.frame.columns})
        metadata = {
            "estimate": ESTIMATE,
            "campaign": store.header.identity,
            "kernel": "exp(-||x - x'||^2 / h^2), self term included, over the given labels",
            "bandwidth_rule": BANDWIDTH_RULE,
            "input_bandwidth": repr(self.input_bandwidth),
            "input_bandwidth_se": repr(self.input_bandwidth_se),
            "hidden": json.dumps([{**vars(run), "run": run.run.run_id} for run in self.runs]),
            **({} if self.left_out is None else {"left_out": self.left_out}),
        }
        return store.write_estimate(ESTIMATE, table, metadata)


def estimate_densities(
    store: Store,
    *,
    models: int = 1,
    device: str | None = None,
    progress: StageProgressCallback = lambda what, done, total: None,
    trust_code: bool = False,
) -> Densities:
    """The densities around a store's training examples, in input space and in the last hidden layer of its model.

    Inputs are scaled as the recipe says, and not augmented; labels are those given to the models. For the hidden layer
    the first `models` runs of the largest ratio that did not diverge are trained again, on `device` (None: the GPU
    where there is one); h is each one's own, scores are averaged. A model without a linear head has no such scores.
    A function that the store's campaign names is called, and data are downloaded, with `trust_code` alone.

    Raises EstimateError where the store's runs were imported or are fewer, DataError where the data set is not here,
    ModelError or DataError where it takes such a function and there is no `trust_code`.
    """
    campaign = trainable_campaign(store, trusted=trust_code)
    where, labels = torch.device(available_device(device)), read_labels(store)
    runs = _first_runs(store, models)
    _, data = load_store_data(store, campaign, where, trusted=trust_code)
    left_out = _why_no_head(campaign, data)

    def pairs(vectors: Vectors, what: str) -> KernelDensities:
        on_tile: ProgressCallback = partial(progress, f"tiles of pairs in {what}")
        return kernel_densities(vectors, labels.given_label, on_tile=on_tile)

    inputs = pairs(_inputs(data), "input space")
    hidden: list[KernelDensities] = []
    retrained: list[RetrainedRun] = []
    for run, correct in runs.items() if left_out is None else ():
        layer = train_and_extract_features(
            campaign, data, run, store.header.precision, partial(progress, f"epochs of run {run.run_id}")
        )
        densities = pairs(Vectors.of(layer.features), f"the last hidden layer of run {run.run_id}")
        agreement = float((layer.train_correct == correct).mean())
        hidden.append(densities)
        retrained.append(RetrainedRun(run, agreement, densities.bandwidth, densities.bandwidth_se))
    columns = {**_columns("input", [inputs]), **_columns("hidden", hidden)}
    frame = labels.columns().assign(**columns)
    return Densities(frame, inputs.bandwidth, inputs.bandwidth_se, tuple(retrained), left_out)


def _first_runs(store: Store, models: int) -> dict[Run, Bools]:
    """The first runs of the largest ratio that did not diverge, each with the examples it gets right, bool[N]."""
    ratio_ppm = select_ratios(store, None)[-1]
    runs: dict[Run, Bools] = {}
    for rows in scan_epoch(store, ["repetition", "train_correct"], ratio_ppm, None):
        table = rows.table.filter(pa.array(rows.used)).slice(0, models - len(runs))
        correct = store.bits(rows.shard, table, "train_correct")
        repetitions = table["repetition"].to_pylist()
        runs |= {Run(ratio_ppm, repetition): each for repetition, each in zip(repetitions, correct, strict=True)}
        if len(runs) == models:
            break
    if not 1 <= models <= len(runs):
        ratio = Run(ratio_ppm, 0).ratio
        raise (EstimateError if runs else NoEstimateError)(
            f"models must be 1 to {len(runs)}, the runs at ratio {ratio:g} that did not diverge, got {models}"
            if runs
            else f"{store.uri}: all runs at ratio {ratio:g} diverged, so none can be trained again"
        )
    return runs


def _why_no_head(campaign: Campaign, data: DeviceData) -> str | None:
    try:
        check_head(campaign.model, data.input_shape, data.num_classes)
    except ModelError as error:
        return str(error)
    return None


def _inputs(data: DeviceData) -> Vectors:
    def read(index: np.ndarray) -> torch.Tensor:
        return data.scaled(data.train_images.select(torch.from_numpy(index).to(data.device))).flatten(1)

    return Vectors(len(data.train_images), read)


def _columns(space: str, densities: list[KernelDensities]) -> dict[str, np.ndarray | float]:
    """The three scores, averaged; NaN where there is nothing."""
    names = {"density": "plain", "density_same": "same", "density_relative": "relative"}
    return {
        f"{space}_{name}": np.mean([getattr(each, score) for each in densities], axis=0) if densities else float("nan")
        for name, score in names.items()
    }

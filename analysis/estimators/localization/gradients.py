"""Gradient accounting (Maini et al. 2023, section 4.1): norms and cosines of the gradients of clean and noisy examples.

Of a layer with tensors p, with G_c and G_n the sums of clean and noisy gradients over an epoch:

    norm        sum_p |G_c,p| / sqrt(size of p)           (noisy likewise)
    cosine      mean_p cos(G_c,p, G_n,p)
    flat_cosine sum_p G_c,p . G_n,p / (|G_c| |G_n|)       the layer's tensors as one vector
    total_norm  sum_p |G_c,p + G_n,p| / sqrt(size of p)

The first two are those of the authors' code (gradients.py of their repository), where each batch-norm vector weighs as
much as the convolution; the third does not have that property.
"""

import numpy as np
import pandas as pd

from analysis.estimators.localization.over_runs import mean_over_runs
from analysis.estimators.localization.probe_rows import compared_groups, find_columns, read_probe, with_run
from workers.common.arrays import AnyArray, Floats
from workers.errors import EstimateError
from workers.store import Store
from workers.store.probe_columns import ProbedTensor


def gradient_values(groups: tuple[str, str]) -> tuple[str, ...]:
    """The columns of values, for the two groups of examples: clean and noisy, or typical and atypical."""
    return (*(f"norm_{group}" for group in groups), "norm_ratio", "total_norm", "cosine", "flat_cosine")


def gradient_frame(store: Store, *, ratio: float | None = None) -> pd.DataFrame:
    """A row for each measured run, epoch and layer: run_id, ratio, repetition, epoch, layer, `gradient_values`.

    `norm_ratio` is that of noisy to clean, or of atypical to typical. NaN where a gradient is 0. Raises
    EstimateError as `probe_frame`.
    """
    (column,) = find_columns(store, "gradients")
    rows = read_probe(store, [column], ratio)
    if store.header.probes is None:
        raise EstimateError(f"{store.uri}: has no probes")
    sums = rows.values[column.name].astype(np.float64)
    names = gradient_values(compared_groups(store))
    epochs, frames = np.array(column.axes[0].values()), []
    for layer, members in _layers(store.header.probes.tensors).items():
        values = _of_layer(sums[:, :, members], [store.header.probes.tensors[member].size for member in members])
        for place, run in enumerate(rows.runs):
            frame = pd.DataFrame({"epoch": epochs, "layer": layer})
            frames.append(
                with_run(frame.assign(**{name: value[place] for name, value in zip(names, values, strict=True)}), run)
            )
    return pd.concat(frames, ignore_index=True)


def gradient_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a `gradient_frame` of one ratio a row for each layer: of each value the mean over runs of each run's mean over
    epochs, `NAME_se` over runs, and `runs`."""
    values = frame.drop(columns=["ratio", "repetition", "epoch"])
    means = values.groupby(["run_id", "layer"], sort=False).mean().reset_index()
    return mean_over_runs(means, ["layer"], list(means.columns[2:]))


def _layers(tensors: tuple[ProbedTensor, ...]) -> dict[str, list[int]]:
    """The places of each layer's tensors."""
    layers: dict[str, list[int]] = {}
    for place, tensor in enumerate(tensors):
        layers.setdefault(tensor.layer, []).append(place)
    return layers


def _of_layer(sums: AnyArray, sizes: list[int]) -> tuple[Floats, ...]:
    """`gradient_values`, float64[R, E] each, of sums [R, E, tensors, (clean^2, noisy^2, product)] and the
    tensors' sizes."""
    clean, noisy, product = np.moveaxis(sums, -1, 0)
    root = np.sqrt(np.array(sizes, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        norm_clean = (np.sqrt(clean) / root).sum(axis=-1)
        norm_noisy = (np.sqrt(noisy) / root).sum(axis=-1)
        total = np.maximum(clean + noisy + 2 * product, 0)
        cosine = np.where(clean * noisy > 0, product / np.sqrt(clean * noisy), np.nan)
        flat = product.sum(axis=-1) / np.sqrt(clean.sum(axis=-1) * noisy.sum(axis=-1))
        some = np.isfinite(cosine)
        mean = np.where(some, cosine, 0).sum(axis=-1) / np.where(some.any(axis=-1), some.sum(axis=-1), np.nan)
        return (
            norm_clean,
            norm_noisy,
            np.where(norm_clean > 0, norm_noisy / norm_clean, np.nan),
            (np.sqrt(total) / root).sum(axis=-1),
            mean,
            np.where(np.isfinite(flat), flat, np.nan),
        )

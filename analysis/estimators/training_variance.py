"""Variance of a model's outputs, decomposed: how much is due to the training subset, how much to the seed of training.

For the runs of a ratio with several runs of each subset (`subsets.replicates`), and an output y (correctness, margin,
loss, probability) of a test example, or of a training example over the subsets that lack it,

    Var y = subset + seed        subset = Var_S E[y | S]        seed = E_S Var[y | S]

by the method of moments (`analysis.statistics.variance_components`); the seed stands for initialization, order and
augmentation together. Standard errors are the jackknife's over at most 20 groups of subsets
(`analysis.statistics.jackknife`). The mean over examples has an error of the same kind: examples share their runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.reading.examples import Labels, read_labels
from analysis.reading.outputs import TestOutput
from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import EpochRows, check_random_subsets, check_some_run, scan_epoch, select_ratios
from analysis.reading.subset_groups import groups_of_rows
from analysis.statistics.jackknife import GROUPS, jackknife_se
from analysis.statistics.variance_components import Components, ComponentSums
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Floats
from workers.common.splits import Split
from workers.errors import EstimateError
from workers.store import Store

_VALUES = ("mean", "subset_variance", "subset_se", "seed_variance", "seed_se", "subsets", "runs")
TEST_COLUMNS = ("ratio", "test_example_id", "test_label", *_VALUES)
TRAIN_COLUMNS = ("ratio", "example_id", "label", "given_label", *_VALUES)
MEAN_COLUMNS = (
    *("ratio", "examples", "subset_variance", "subset_se", "seed_variance", "seed_se"),
    *("subset_share", "share_se", "subsets", "runs", "diverged"),
)


@dataclass(frozen=True)
class TrainingVariance:
    """`examples` has a row for each ratio and example, `means` one for each ratio: see `estimate_variance`."""

    examples: pd.DataFrame
    means: pd.DataFrame


def estimate_variance(
    store: Store,
    ratio: float | None = None,
    *,
    split: Split = "test",
    output: TestOutput = "correctness",
    epoch: int | None = None,
) -> TrainingVariance:
    """The variance of an output over runs, by subset and by seed, at one ratio or at each committed one.

    `examples` has TEST_COLUMNS, or with `split` train TRAIN_COLUMNS: of each example the `mean` over `runs` runs of
    `subsets` subsets (of training examples: those that lack it), both components and their standard errors, in the
    output's unit squared; NaN where no subset has two runs or there are fewer than two subsets. Components may be
    negative: they are unbiased. `means` has MEAN_COLUMNS: means over the `examples` that have both components, and
    `subset_share`, the first mean's share of their sum.

    Raises EstimateError where runs do not share subsets, where the output is not recorded, for a ratio or an epoch that
    the store does not have, where subsets are explicit, and where all runs diverged; DamagedFileError for an
    unreadable file.
    """
    check_random_subsets(store)
    if store.header.replicates == 1:
        raise EstimateError(
            f"{store.uri}: has one run of each subset, whose variance cannot be told from that of the seed: "
            "subsets.replicates must be at least 2, got 1"
        )
    column = f"{split}_correct" if output == "correctness" else recorded_output(store, output, split)
    labels = read_labels(store)
    frames, means = [], []
    for ratio_ppm in select_ratios(store, ratio):
        if split == "train" and ratio_ppm == PPM:
            continue  # holds nothing out
        reader = _RatioReader(store, column, split, epoch)
        sums = reader.read(ratio_ppm)
        check_some_run(store.uri, reader.runs, reader.diverged, ratio_ppm / PPM)
        frames.append(_examples(sums, labels, split, ratio_ppm / PPM))
        means.append(_means(sums, ratio_ppm / PPM) | {"runs": reader.runs, "diverged": reader.diverged})
    if not frames:
        raise EstimateError(f"{store.uri}: has no example that is held out: the ratio must be below 1, got 1")
    return TrainingVariance(pd.concat(frames, ignore_index=True), pd.DataFrame(means, columns=list(MEAN_COLUMNS)))


class _RatioReader:
    """Reads the runs of a ratio, subset by subset."""

    def __init__(self, store: Store, column: str, split: Split, epoch: int | None) -> None:
        self._store, self._column, self._split, self._epoch = store, column, split, epoch
        self.runs = self.diverged = 0

    def read(self, ratio_ppm: int) -> ComponentSums:
        header = self._store.header
        width = header.num_test if self._split == "test" else header.num_train
        sums = ComponentSums(self._groups(ratio_ppm), width)
        waiting: list[tuple[Floats, Bools]] = []
        last = -1
        for group, values, used in self._rows(ratio_ppm):
            if group != last and waiting:
                sums.add(last % sums.groups, *map(np.stack, zip(*waiting, strict=True)))
                waiting = []
            last = group
            waiting.append((values, used))
        if waiting:
            sums.add(last % sums.groups, *map(np.stack, zip(*waiting, strict=True)))
        return sums

    def _groups(self, ratio_ppm: int) -> int:
        runs = sum(shard.stop - shard.start for shard in self._store.shards() if shard.ratio_ppm == ratio_ppm)
        return max(1, min(GROUPS, -(-runs // self._store.header.replicates)))

    def _rows(self, ratio_ppm: int) -> Iterator[tuple[int, Floats, Bools]]:
        """The number of each run's subset, its values, and which of them count."""
        for rows in scan_epoch(self._store, ("repetition", "subset", self._column), ratio_ppm, self._epoch):
            self.diverged += rows.diverged
            values, used = self._values(rows)
            self.runs += len(values)
            yield from zip(groups_of_rows(self._store, rows).tolist(), values, used, strict=True)

    def _values(self, rows: EpochRows) -> tuple[Floats, Bools]:
        values = self._store.vectors(rows.shard, rows.table, self._column)[rows.used].astype(np.float64)
        used: Bools = np.isfinite(values)
        if self._split == "train":
            used &= ~self._store.bits(rows.shard, rows.table, "subset")[rows.used]
        return values, used


def _examples(sums: ComponentSums, labels: Labels, split: Split, ratio: float) -> pd.DataFrame:
    components, without = sums.all(), sums.without_each()
    if split == "test":
        ids = np.arange(labels.num_test)
        frame = pd.DataFrame({"test_example_id": ids, "test_label": labels.test_label})
    else:
        frame = labels.columns()
    frame = frame.assign(
        ratio=ratio,
        mean=components.mean,
        subset_variance=components.subset,
        subset_se=np.where(np.isnan(components.subset), np.nan, jackknife_se(without.subset)),
        seed_variance=components.seed,
        seed_se=np.where(np.isnan(components.seed), np.nan, jackknife_se(without.seed)),
        subsets=components.subsets,
        runs=components.runs,
    )
    return frame[list(TEST_COLUMNS if split == "test" else TRAIN_COLUMNS)]


def _means(sums: ComponentSums, ratio: float) -> dict[str, float]:
    """Over the examples with both components, whichever group of subsets is left out."""
    components, without = sums.all(), sums.without_each()
    known = np.isfinite(components.subset + components.seed)
    known &= np.isfinite(without.subset + without.seed).all(axis=0)
    subset, seed, share = _averages(components, known)
    errors = [jackknife_se(replicates) for replicates in _averages(without, known)]
    return {
        "ratio": ratio,
        "examples": int(known.sum()),
        "subset_variance": float(subset),
        "subset_se": float(errors[0]),
        "seed_variance": float(seed),
        "seed_se": float(errors[1]),
        "subset_share": float(share),
        "share_se": float(errors[2]),
        "subsets": sums.subsets,
    }


def _averages(components: Components, known: Bools) -> tuple[Floats, Floats, Floats]:
    """Means over the known examples of both components, and the first one's share; NaN where none is known."""
    if not known.any():
        nothing = np.full(components.subset.shape[:-1], np.nan)
        return nothing, nothing, nothing
    subset, seed = components.subset[..., known].mean(axis=-1), components.seed[..., known].mean(axis=-1)
    total = subset + seed
    return subset, seed, np.where(total > 0, subset / np.where(total > 0, total, 1.0), np.nan)

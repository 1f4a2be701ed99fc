"""Stores with results that were made up, for tests of everything that reads a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.campaign.campaign import Campaign, Subsets, ratio_to_ppm
from workers.campaign.keys import Run, Shard
from workers.campaign.recipe import Recipe
from workers.campaign.record import Record
from workers.common.arrays import Bools
from workers.store import EpochRecord, Header, RunResult, Store
from workers.store.output_columns import OUTPUT_COLUMNS
from workers.store.schema import PRESENTED_MARGIN, PROBABILITIES


@dataclass(frozen=True)
class Runs:
    """The runs of one ratio: subsets bool[K, N]; train bool[K, N] and test bool[K, T] at the final epoch.

    `earlier` has (train, test) of the epochs before the last; `diverged` are positions of runs.
    """

    subsets: Bools
    train: Bools
    test: Bools
    diverged: Sequence[int] = ()
    earlier: Sequence[tuple[Bools, Bools]] = ()
    seconds: float = 1.0
    device: str = "cpu"
    replicates: int = 1
    """Runs of each subset: see `subsets.replicates`."""
    outputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """[K, N] or [K, T] by column of `workers.store.output_columns`, of all epochs; recorded where given.

    `test_margin` alone stands for `record.margins`, others are given for both splits.
    """
    presented: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """[K, E, N] by column of `workers.store.schema.PRESENTED` (and further ones); recorded where given.

    The one row of a run holds all E epochs, unless there are `earlier` ones: then each row holds its own.
    """

    @property
    def num_epochs(self) -> int:
        """E."""
        return max([len(self.earlier) + 1, *(each.shape[1] for each in self.presented.values())])

    def _slots(self, k: int, epoch: int) -> dict[str, npt.NDArray[Any]]:
        chosen = slice(epoch - 1, epoch) if self.earlier else slice(None)
        return {name: each[k, chosen] for name, each in self.presented.items()}

    def results(self, ratio: float) -> list[RunResult]:
        """As a worker would commit them, repetition k being row k."""
        return [self._result(Run(ratio_to_ppm(ratio), k), k) for k in range(len(self.subsets))]

    def _result(self, run: Run, k: int) -> RunResult:
        diverged = k in self.diverged
        outputs = {name: each[k] for name, each in self.outputs.items()}
        epochs = [*self.earlier, (self.train, self.test)]
        last = self.num_epochs
        rows = enumerate(epochs, start=last - len(epochs) + 1)
        records = [
            EpochRecord(
                epoch, train[k], test[k], float("nan") if diverged else 1 / epoch, outputs, self._slots(k, epoch)
            )
            for epoch, (train, test) in rows
        ]
        status = "diverged" if diverged else "completed"
        return RunResult(run, self.subsets[k], records, status, self.seconds, self.device)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Labelled:
    """Labels of the examples; left out, all are class 0 and given as they are."""

    label: Sequence[int] | None = None
    given_label: Sequence[int] | None = None
    test_label: Sequence[int] | None = None

    def filled(self, num_train: int, num_test: int) -> tuple[list[int], list[int], list[int]]:
        """label, given_label and test_label of so many examples."""
        label = [0] * num_train if self.label is None else list(self.label)
        given = label if self.given_label is None else list(self.given_label)
        return label, given, [0] * num_test if self.test_label is None else list(self.test_label)


def make_store(
    path: Path,
    subsets: Bools,
    train: Bools,
    test: Bools,
    *,
    ratio: float = 0.7,
    labels: Labelled = Labelled(),
    shard_size: int = 8,
    shards: Sequence[tuple[int, int]] | None = None,
    **runs: Any,
) -> Store:
    """A store with the runs of one ratio; `shards` (start, stop) in place of even ones may overlap or leave gaps.

    Further keywords are those of `Runs`.
    """
    return make_stores(path, {ratio: Runs(subsets, train, test, **runs)}, labels, shard_size, shards)


def make_stores(
    path: Path,
    runs: Mapping[float, Runs],
    labels: Labelled = Labelled(),
    shard_size: int = 8,
    shards: Sequence[tuple[int, int]] | None = None,
) -> Store:
    """A store with the runs of several ratios."""
    first = next(iter(runs.values()))
    num_train, num_test = first.subsets.shape[1], first.test.shape[1]
    num_classes = max(2, 1 + max(map(max, filter(None, labels.filled(num_train, num_test)))))
    described = header(runs, num_train, num_test, shard_size, num_classes)
    store = Store.create(path, described, examples(labels, num_train, num_test))
    for ratio, run in runs.items():
        commit(store, ratio, run, shards or even_shards(len(run.subsets), shard_size))
    return store


def even_shards(num_runs: int, shard_size: int) -> list[tuple[int, int]]:
    """(start, stop) of shards of one size; the last may be smaller."""
    return [(start, min(start + shard_size, num_runs)) for start in range(0, num_runs, shard_size)]


def commit(store: Store, ratio: float, runs: Runs, shards: Sequence[tuple[int, int]]) -> None:
    """Commit some shards of a ratio's runs."""
    results = runs.results(ratio)
    for start, stop in shards:
        store.commit(Shard(ratio_to_ppm(ratio), start, stop), results[start:stop])


def header(runs: Mapping[float, Runs], num_train: int, num_test: int, shard_size: int, num_classes: int = 2) -> Header:
    """A store's header with a true campaign in it."""
    first = next(iter(runs.values()))
    campaign = Campaign(
        recipe=Recipe(epochs=first.num_epochs, batch_size=8),
        subsets=Subsets(
            ratios=tuple(runs),
            repetitions=max(1, *(len(run.subsets) for run in runs.values()), 1),
            replicates=first.replicates,
        ),
        record=Record(
            epochs="final" if first.presented and not first.earlier else "all",
            margins=set(first.outputs) == {"test_margin"},
            outputs=tuple(
                column.output for column in OUTPUT_COLUMNS if column.split == "train" and column.name in first.outputs
            ),
            presentations=bool(first.presented),
            probabilities=PROBABILITIES[0] in first.presented,
            presented_margin=PRESENTED_MARGIN in first.presented,
        ),
    )
    return Header(
        identity=campaign.identity("5" * 64),
        fingerprint="5" * 64,
        dataset="synthetic",
        num_train=num_train,
        num_test=num_test,
        class_names=tuple(map(str, range(num_classes))),
        shard_size=shard_size,
        campaign=campaign,
        versions={},
    )


def examples(labels: Labelled, num_train: int, num_test: int) -> pa.Table:
    """The examples table of a store."""
    label, given, test = labels.filled(num_train, num_test)
    columns = {
        "split": ["train"] * num_train + ["test"] * num_test,
        "example_id": [*range(num_train), *range(num_test)],
        "label": label + test,
        "given_label": given + test,
    }
    return pa.table(
        {name: pa.array(values, pa.string() if name == "split" else pa.int64()) for name, values in columns.items()}
    )


def random_runs(
    random: np.random.Generator, num_runs: int, num_train: int, num_test: int, ratio: float = 0.7, **runs: Any
) -> Runs:
    """Independent random bits: examples that are in no subset, or in all, happen."""
    return Runs(
        subsets=random.random((num_runs, num_train)) < ratio,
        train=random.random((num_runs, num_train)) < 0.6,
        test=random.random((num_runs, num_test)) < 0.6,
        **runs,
    )

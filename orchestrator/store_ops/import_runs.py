"""Imports runs that were trained elsewhere into a store."""

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from orchestrator.campaigns.pending import shards_of
from orchestrator.store_ops.heldout_layout import find_runs, read_run
from workers.campaign.campaign import PPM, Subsets
from workers.campaign.import_spec import Imported
from workers.campaign.keys import Run, Shard
from workers.common.arrays import Integers
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import DataError
from workers.store import Header, Store, examples_table
from workers.store.npz import read_vectors

SHARD_SIZE = 32
"""Runs per file; their vectors take 85 MB of memory for ImageNet."""

MAX_LABELS = 1 << 27
MAX_CLASSES = 1_000_000
"""More labels, and greater ones, are something else."""

_PACKAGES = ("longtail", "numpy", "pyarrow")


@dataclass(frozen=True)
class ImportReport:
    """What an import did: runs of the experiment, and how many of them were in the store before."""

    store_uri: str
    experiment: str
    runs: int
    before: int


def import_heldout(
    experiment: str | os.PathLike[str],
    store: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    on_progress: ProgressCallback = no_progress,
) -> ImportReport:
    """Import published runs (see `orchestrator.store_ops.heldout_layout`) into a store, created if there is none.

    `labels` is an `.npz` file with the data set's labels in the order of its ids: integers, `train` [N] and `test` [T];
    the published files have none. Runs that are in the store already are not read again. Holds two shards in memory.
    Raises DataError for files that are not what they should be: what was committed before stays, and nothing is written
    where the first shard is among them. Raises StoreMismatchError where the store is a campaign's or another import's.
    """
    source = Path(experiment).expanduser().absolute()
    name = source.resolve().name
    if not name or not name.isprintable():
        raise DataError(
            f"{source}: must be a folder with a printable name, which becomes the experiment's, got {name!r}"
        )
    runs = find_runs(source)
    train, test = _read_labels(Path(labels))
    header = _header(name, train, test)

    committed = _committed(store, header)
    pending = _pending(runs.keys() - committed)
    batches = ([read_run(run, runs[run], len(train), len(test)) for run in shard.runs] for shard in pending)
    first = next(batches, [])  # read before anything is written: wrong labels mostly show here
    opened = Store.create(store, header, examples_table(train, train, test, class_names=header.class_names))
    opened.clean()
    # How many, not up to which: folders may be missing between them, which nothing here can train.
    for ratio_ppm, number in Counter(run.ratio_ppm for run in committed | runs.keys()).items():
        opened.add_target(Subsets(ratios=(ratio_ppm / PPM,), repetitions=number), at_least=True)
    count = before = len(runs) - sum(len(shard.runs) for shard in pending)
    on_progress(count, len(runs))
    for shard, results in zip(pending, chain([first], batches), strict=False):
        opened.commit(shard, results)
        count += len(results)
        on_progress(count, len(runs))
    return ImportReport(opened.uri, header.dataset, len(runs), before)


def _committed(store: str | os.PathLike[str], header: Header) -> set[Run]:
    """The runs that an earlier import committed. Raises StoreMismatchError where the store is not for this import."""
    if not Store.exists(store):
        return set()
    opened = Store.open(store)
    opened.header.check_same(header, opened.uri)
    return {run for shard in opened.shards() for run in shard.runs}


def _pending(runs: Iterable[Run]) -> list[Shard]:
    """The shards of these runs; folders may be missing between them."""
    by_ratio = groupby(sorted(runs), key=attrgetter("ratio_ppm"))
    return [
        shard
        for ratio_ppm, group in by_ratio
        for shard in shards_of(ratio_ppm, (run.repetition for run in group), SHARD_SIZE)
    ]


def _header(experiment: str, train: Integers, test: Integers) -> Header:
    imported = Imported(layout="heldout", experiment=experiment)
    fingerprint = _fingerprint(train, test)
    return Header(
        identity=imported.identity(fingerprint),
        fingerprint=fingerprint,
        dataset=experiment,
        num_train=len(train),
        num_test=len(test),
        class_names=tuple(str(label) for label in range(max(train.max(), test.max(initial=0)) + 1)),
        shard_size=SHARD_SIZE,
        campaign=imported,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )


def _fingerprint(train: Integers, test: Integers) -> str:
    """SHA-256 (hex) of the labels: all that is known of the data."""
    digest = hashlib.sha256(json.dumps({"labels": [len(train), len(test)]}).encode())
    for labels in (train, test):
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _read_labels(path: Path) -> tuple[Integers, Integers]:
    """int64[N] and int64[T]."""
    arrays = read_vectors(path, {"train": MAX_LABELS, "test": MAX_LABELS})
    for name, labels in arrays.items():
        if labels.dtype.kind not in "iu":
            raise DataError(f"{path}: {name}: must be integers, got {labels.dtype}")
        outside = labels[(labels < 0) | (labels >= MAX_CLASSES)]
        if len(outside):
            raise DataError(f"{path}: {name}: must be classes from 0 to {MAX_CLASSES - 1}, got {outside[0]}")
    if len(arrays["train"]) == 0:
        raise DataError(f"{path}: train: must have at least one label")
    return arrays["train"].astype(np.int64), arrays["test"].astype(np.int64)

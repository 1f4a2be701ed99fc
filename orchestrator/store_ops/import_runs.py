"""Imports runs that were trained elsewhere into a store."""

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path

import numpy as np

from orchestrator.campaigns.pending import shards_of
from orchestrator.store_ops.heldout_layout import find_runs, read_run
from orchestrator.store_ops.matrix_layout import open_matrices
from workers.campaign.campaign import PPM, Subsets, ratio_to_ppm
from workers.campaign.import_spec import Imported
from workers.campaign.keys import Run, Shard
from workers.common.arrays import Integers
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import DataError
from workers.store import Header, RunResult, Store, examples_table
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


@dataclass(frozen=True)
class MatrixImport:
    """`name` of the experiment (None: the first file's), and the number of `runs`, the first rows (None: all)."""

    name: str | None = None
    runs: int | None = None


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
    header = _header(Imported(layout="heldout", experiment=name), train, test)

    def results(shards: Sequence[Shard]) -> Iterator[list[RunResult]]:
        return ([read_run(run, runs[run], len(train), len(test)) for run in shard.runs] for shard in shards)

    return _import_runs(store, header, (train, test), runs.keys(), results, on_progress)


def import_matrices(
    files: Sequence[str | os.PathLike[str]],
    store: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    options: MatrixImport = MatrixImport(),
    on_progress: ProgressCallback = no_progress,
) -> ImportReport:
    """Import runs from matrices (see `orchestrator.store_ops.matrix_layout`) into a store, created if there is none.

    As `import_heldout`, with `labels` in the same form; files are read from their start, in blocks of rows.
    """
    paths = [Path(file).expanduser().absolute() for file in files]
    if not paths:
        raise DataError("files: must be at least one, got none")
    name = options.name or paths[0].stem
    if not name.isprintable():
        raise DataError(f"{paths[0]}: must have a printable name, which becomes the experiment's, got {name!r}")
    train, test = _read_labels(Path(labels))
    matrices = open_matrices(paths, len(train), len(test), options.runs)
    ratio, replicates = matrices.subsets()
    imported = Imported(layout="matrices", experiment=name, replicates=replicates, outputs=matrices.outputs)
    header = _header(imported, train, test)
    # Of more rows the mean size may be another; the runs of an import stay those of one ratio.
    ratio_ppm = next((run.ratio_ppm for run in _committed(store, header)), ratio_to_ppm(ratio))

    def results(shards: Sequence[Shard]) -> Iterator[list[RunResult]]:
        rows = matrices.results(ratio_ppm)
        read = 0
        for shard in shards:
            taken = list(islice(rows, shard.start - read, shard.stop - read))
            read = shard.stop
            yield taken

    runs = [Run(ratio_ppm, number) for number in range(matrices.runs)]
    return _import_runs(store, header, (train, test), runs, results, on_progress)


def _import_runs(
    store: str | os.PathLike[str],
    header: Header,
    labels: tuple[Integers, Integers],
    runs: Collection[Run],
    results: Callable[[Sequence[Shard]], Iterator[list[RunResult]]],
    on_progress: ProgressCallback,
) -> ImportReport:
    """Commit the runs that are not in the store; `results` reads those of ascending shards."""
    train, test = labels
    committed = _committed(store, header)
    pending = _pending(set(runs) - committed)
    batches = results(pending)
    first = next(batches, [])  # read before anything is written: wrong labels mostly show here
    opened = Store.create(store, header, examples_table(train, train, test, class_names=header.class_names))
    opened.clean()
    # How many, not up to which: folders may be missing between them, which nothing here can train.
    for ratio_ppm, number in Counter(run.ratio_ppm for run in committed | set(runs)).items():
        opened.add_target(Subsets(ratios=(ratio_ppm / PPM,), repetitions=number), at_least=True)
    count = before = len(runs) - sum(len(shard.runs) for shard in pending)
    on_progress(count, len(runs))
    for shard, shard_results in zip(pending, chain([first], batches), strict=False):
        opened.commit(shard, shard_results)
        count += len(shard_results)
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


def _header(imported: Imported, train: Integers, test: Integers) -> Header:
    fingerprint = _fingerprint(train, test)
    return Header(
        identity=imported.identity(fingerprint),
        fingerprint=fingerprint,
        dataset=imported.experiment,
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

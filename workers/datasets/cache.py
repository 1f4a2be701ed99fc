"""The data set cache: memory-mapped arrays, found by fingerprint or by their source files.

    <root>/datasets/<fingerprint>/{train_images,...}.npy, meta.json    complete from the moment it has its name
    <root>/sources/<key>.json                                          which fingerprint a set of files decodes to,
                                                                       names of classes, and what the reader noted
    <root>/sources/<key>.arrow                                         names of examples, where they have names
    <root>/scratch/<key>/                                              being decoded, by the holder of the lock
    <root>/locks/<key>.lock

The kernel frees a dead process's lock, so whoever gets the lock of a scratch folder may remove it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from workers.common.arrays import AnyArray
from workers.datasets.dataset import ARRAYS, CachedDataset, Dataset, chunks
from workers.datasets.description import Description, read_names, write_names
from workers.datasets.npy import cache_errors, write_npy
from workers.errors import DamagedDataError
from workers.store.files.fsync import sync_file, sync_folder

FORMAT = 1
_PUBLISH = "publish"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)


def cache_root() -> Path:
    """The cache directory: $LONGTAIL_CACHE, $XDG_CACHE_HOME/longtail, or ~/.cache/longtail.

    A relative XDG_CACHE_HOME is ignored, as the XDG base directory specification asks.
    """
    own, xdg = os.environ.get("LONGTAIL_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    base = Path(xdg) if Path(xdg).is_absolute() else Path("~/.cache")
    return Path(own or base / "longtail").expanduser().absolute()


class Cache:
    """A cache directory. Reading never writes; what writes raises DataError where the directory cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, fingerprint: str, description: Description | None = None) -> Dataset | None:
        """The data set of a fingerprint as read-only memory maps; None where it is missing, incomplete or damaged.

        Without a `description` it has the class names of the data set that was stored first, no names of examples and
        no notes: the fingerprint does not cover them.
        """
        if not re.fullmatch("[0-9a-f]{64}", fingerprint):
            return None
        folder = self._entry(fingerprint)
        try:
            meta = json.loads((folder / "meta.json").read_text())
            if meta["format"] != FORMAT or meta["fingerprint"] != fingerprint:
                return None
            arrays: dict[str, Any] = {
                name: _open_array(folder / f"{name}.npy", meta["arrays"][name]) for name in ARRAYS
            }
            known = vars(Description(tuple(meta["class_names"])) if description is None else description)
            return CachedDataset(**arrays, **known, white=meta["white"], known_fingerprint=fingerprint)
        except _DAMAGED:
            return None

    def find_source(self, key: str) -> Dataset | None:
        """The data set that the files of this key were decoded to; None where that is not known or not here."""
        try:
            record = json.loads(self._source(key).read_text())
            named = read_names(self._names(key), tuple(record["named"])) if record["named"] else (None, None)
            description = Description(tuple(record["class_names"]), tuple(record["notes"]), *named)
            return self.find(record["fingerprint"], description)
        except _DAMAGED:
            return None

    def record_source(self, key: str, dataset: Dataset, scratch: Path) -> None:
        """Remember that the files of this key decode to this data set, with its names and notes. Raises DataError."""
        known, counts = dataset.description, (dataset.num_train, dataset.num_test)
        named = known.train_names is not None or known.test_names is not None
        record = {"fingerprint": dataset.fingerprint, "class_names": known.class_names, "notes": known.notes}
        temporary = scratch / "source.json"
        with cache_errors(self._source(key)):
            self._source(key).parent.mkdir(parents=True, exist_ok=True)
            if named:
                write_names(scratch / "names.arrow", known, counts)
                sync_file(scratch / "names.arrow")
                (scratch / "names.arrow").replace(self._names(key))
            _write_synced(temporary, json.dumps({**record, "named": counts if named else None}))
            temporary.replace(self._source(key))

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """Hold the key's lock, and an empty scratch folder that is removed afterwards. Raises DataError."""
        scratch = self._scratch(key)
        with self._locked(key):
            with cache_errors(scratch):
                self._remove_leftovers()
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def add(self, dataset: Dataset, scratch: Path) -> Dataset:
        """Store a data set and open it; one that is here already stays. Raises DataError.

        Arrays that a decoder has written there already (as `entry(scratch) / "train_images.npy"`) are not copied.
        """
        cached = self.find(dataset.fingerprint, dataset.description)
        if cached is not None:
            return cached
        folder = entry(scratch)
        for name in ARRAYS:
            _write_array(folder / f"{name}.npy", getattr(dataset, name))
        with cache_errors(folder):
            _write_synced(folder / "meta.json", json.dumps(_meta(dataset)))
            sync_folder(folder)
        self._publish(folder, dataset.fingerprint)
        cached = self.find(dataset.fingerprint, dataset.description)
        if cached is None:
            raise DamagedDataError(
                f"cache {self._entry(dataset.fingerprint)}: cannot be read back after it was written"
            )
        return cached

    def _publish(self, folder: Path, fingerprint: str) -> None:
        """Give a complete folder its final name. The lock keeps two processes from replacing a damaged one twice."""
        final = self._entry(fingerprint)
        with self._locked(_PUBLISH), cache_errors(final):
            if self.find(fingerprint) is not None:
                return
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.exists():
                final.rename(folder.with_name("damaged"))
            folder.rename(final)
            sync_folder(final.parent)

    def _remove_leftovers(self) -> None:
        """Remove the scratch folders of processes that were killed. The caller's own key counts as busy."""
        for leftover in self._scratch("").glob("*"):
            try:
                with self._lock(leftover.name).acquire(blocking=False):
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                continue

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with cache_errors(self.root):
            self._lock_path(key).parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock(key).acquire()
        with lock:
            yield

    def _lock(self, key: str) -> Any:
        return FileLock(self._lock_path(key))

    def _lock_path(self, key: str) -> Path:
        return self.root / "locks" / f"{key}.lock"

    def _entry(self, fingerprint: str) -> Path:
        return self.root / "datasets" / fingerprint

    def _source(self, key: str) -> Path:
        return self.root / "sources" / f"{key}.json"

    def _names(self, key: str) -> Path:
        return self.root / "sources" / f"{key}.arrow"

    def _scratch(self, key: str) -> Path:
        return self.root / "scratch" / key


def entry(scratch: Path) -> Path:
    """The folder of a scratch folder that becomes the data set's own. Raises DataError where it cannot be made."""
    folder = scratch / "entry"
    with cache_errors(folder):
        folder.mkdir(exist_ok=True)
    return folder


def hashed(document: Any) -> str:
    """SHA-256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _meta(dataset: Dataset) -> dict[str, Any]:
    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    return {
        "format": FORMAT,
        "fingerprint": dataset.fingerprint,
        "class_names": dataset.class_names,
        "white": dataset.white,
        "arrays": {name: {"dtype": array.dtype.name, "shape": array.shape} for name, array in arrays.items()},
    }


def _open_array(path: Path, meta: dict[str, Any]) -> AnyArray:
    """Memory-map an array. Raises ValueError where it is not the one that was written."""
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="r")
    if array.dtype.name != meta["dtype"] or list(array.shape) != meta["shape"] or not array.flags.c_contiguous:
        raise ValueError(f"{path}: {array.dtype}{list(array.shape)}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{path}: wrong size")
    return array


def _write_array(path: Path, array: AnyArray) -> None:
    if not path.exists():
        write_npy(path, array.dtype, array.shape, chunks(array))


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())

"""Writes and reads files of features (`workers.datasets.run_features`), which may come from anybody.

Nothing is unpickled. Arrays are stored without compression, so what a header claims is compared with the bytes that
there are before anything is allocated; features are copied into the cache block by block.
"""

import io
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import ValidationError

from workers.campaign.dataset_spec import Encoder, FeatureData
from workers.common.arrays import AnyArray, Bools
from workers.common.whole_file import replace_file
from workers.datasets.cache import entry
from workers.datasets.dataset import Dataset
from workers.datasets.npy import write_npy
from workers.datasets.run_features import DTYPES, FEATURES, MAX_METADATA, METADATA, FeatureMetadata, RunFeatures
from workers.errors import CampaignError, DamagedDataError, DataError
from workers.store.example_schema import flags_sha256
from workers.store.header import MAX_EXAMPLES
from workers.store.npz import ArrayHeader, read_array_header, wrap_npz_errors

MAX_WIDTH = 1 << 20
"""Features of an example."""
MAX_BYTES = 1 << 36
"""Of one array."""
_BLOCK_BYTES = 1 << 24
_MAX_READ = 1 << 25
"""Bytes read at once: zipfile reads as much of a file as its directory claims to take."""
_HINT = "longtail features STORE RUN -o FILE.npz writes such files"


def write_features(features: RunFeatures, path: str | os.PathLike[str]) -> None:
    """Write a file of features, whole or not at all, and read it back.

    Raises DataError where a feature is not finite, LongtailError where the file cannot be written, or is not what was
    written.
    """
    path, arrays = Path(path), features.arrays()

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    replace_file(path, write)
    with open_feature_file(path) as file:
        for name in DTYPES:
            start = 0
            for block in file.blocks(name):
                if not np.array_equal(block, arrays[name][start : (start := start + len(block))]):
                    raise DamagedDataError(f"{path}: {name}: is not what was written")
        if file.metadata.encoder != features.encoder:
            raise DamagedDataError(f"{path}: {METADATA}: is not what was written")


def source_files(spec: FeatureData) -> Iterable[Path]:
    """The file. Raises DataError where there is none."""
    return [_existing_file(spec)]


def decode(spec: FeatureData, scratch: Path) -> Dataset:
    """The features as float32[., D], with a note that tells what the encoder saw.

    Raises DataError where the file is not one that `longtail features` wrote.
    """
    path = _existing_file(spec)
    with open_feature_file(path) as file:
        for split, name in zip(("train", "test"), FEATURES, strict=True):
            write_npy(entry(scratch) / f"{split}_images.npy", np.float32, file.shapes[name], file.blocks(name))
        seen, metadata = file.seen_by_encoder, file.metadata
        train, test = (np.load(entry(scratch) / f"{split}_images.npy", mmap_mode="r") for split in ("train", "test"))
        try:
            dataset = Dataset(
                train,
                file.vector("train_labels"),
                test,
                file.vector("test_labels"),
                metadata.class_names,
                notes=(metadata.encoder.text(int(seen.sum()), len(seen)),),
                train_names=metadata.train_names,
                test_names=metadata.test_names,
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if dataset.fingerprint != metadata.fingerprint:
        raise DamagedDataError(f"{path}: was changed: its arrays do not have the fingerprint in its metadata")
    return dataset


def read_encoder(spec: FeatureData, fingerprint: str) -> tuple[Encoder, Bools]:
    """The run whose features the file has, and bool[N], the training examples that it has seen.

    Raises CampaignError where they are those of another run than the specification's, DataError where the file is
    damaged or its features do not have this fingerprint.
    """
    path = _existing_file(spec)
    with open_feature_file(path) as file:
        encoder, seen = file.metadata.encoder, file.seen_by_encoder
        if file.metadata.fingerprint != fingerprint:
            raise DamagedDataError(f"{path}: was changed while the campaign was started")
    if spec.encoder is not None and spec.encoder != encoder:
        name = next(name for name, value in encoder if value != getattr(spec.encoder, name))
        theirs, ours = getattr(encoder, name), getattr(spec.encoder, name)
        raise CampaignError(f"dataset.encoder.{name}: must be {theirs}, as in {path}, got {ours}")
    return encoder, seen


@contextmanager
def open_feature_file(path: Path) -> Iterator["FeatureFile"]:
    """The file at a path, its headers checked. Raises DataError, in one line that names it."""
    with wrap_npz_errors(str(path)):
        file = _BoundedReads(path)
    with file:
        with wrap_npz_errors(str(path)):
            archive = zipfile.ZipFile(file)
        with archive:
            yield FeatureFile(path, archive)


class FeatureFile:
    """An open file of features, whose headers were checked: types, sizes, and the bytes of each array."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        """Raises DataError, in one line that names the file and the array."""
        self._path, self._archive = path, archive
        self.shapes = {name: self._checked_shape(name, np.dtype(dtype)) for name, dtype in DTYPES.items()}
        """Of the arrays beside the metadata."""
        for name, shape in self.shapes.items():
            expected = self.shapes[FEATURES[name.startswith("test")]][0]
            if shape[0] != expected:
                raise self._mistake(name, f"must have a value for each of {expected} examples, got {shape[0]}")
        widths = [self.shapes[name][1] for name in FEATURES]
        if widths[0] != widths[1]:
            raise self._mistake(FEATURES[1], f"must have {widths[0]} features as {FEATURES[0]}, got {widths[1]}")
        self.metadata = self._read_metadata()

    @property
    def seen_by_encoder(self) -> Bools:
        """bool[N]. Raises DataError where they are not those of the hash in the metadata."""
        seen = self.vector("seen_by_encoder")
        if flags_sha256(seen) != self.metadata.encoder.seen_sha256:
            raise self._mistake("seen_by_encoder", "does not have the hash in the metadata")
        return seen

    def vector(self, name: str) -> AnyArray:
        """An array of one axis, whole. Raises DataError."""
        return np.concatenate([np.zeros(0, DTYPES[name]), *self.blocks(name)])

    def blocks(self, name: str) -> Iterator[AnyArray]:
        """An array's rows in order, C-contiguous. Raises DataError where a value is not finite, or the file damaged."""
        shape, dtype = self.shapes[name], np.dtype(DTYPES[name])
        width = math.prod(shape[1:]) * dtype.itemsize
        rows = max(1, _BLOCK_BYTES // width)
        with self._member(name) as (member, _):
            for start in range(0, shape[0], rows):
                count = min(rows, shape[0] - start)
                with wrap_npz_errors(str(self._path), name):
                    block = np.frombuffer(member.read(count * width), dtype).reshape(count, *shape[1:])
                wrong = ~np.isfinite(block).reshape(count, -1).all(axis=1)
                if wrong.any():
                    place = f"example {start + int(wrong.argmax())}"
                    raise self._mistake(name, f"must be finite, got NaN or infinity in {place}")
                yield block

    def _read_metadata(self) -> FeatureMetadata:
        self._checked_shape(METADATA, np.dtype(np.uint8))
        with self._member(METADATA) as (member, _), wrap_npz_errors(str(self._path), METADATA):
            content = member.read()
        try:
            return FeatureMetadata.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise self._mistake(METADATA, f"{problem}; {_HINT}") from error

    def _checked_shape(self, name: str, dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        """An array's shape, once its header, its limits and its bytes agree."""
        with self._member(name) as (member, header):
            (shape, fortran_order, stored_dtype), begin = header, member.tell()
        limits = [MAX_EXAMPLES, MAX_WIDTH] if name in FEATURES else [MAX_METADATA if name == METADATA else MAX_EXAMPLES]
        if stored_dtype != dtype or len(shape) != len(limits) or fortran_order:
            expected = f"{dtype.name} with {'two axes' if name in FEATURES else 'one axis'}, in C order"
            raise self._mistake(name, f"must be {expected}, got {stored_dtype} of shape {list(shape)}")
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_BYTES or any(length > limit for length, limit in zip(shape, limits, strict=True)):
            most = f"at most {' x '.join(map(str, limits))} values and {MAX_BYTES:,} bytes"
            raise self._mistake(name, f"must have {most}, got {' x '.join(map(str, shape))}")
        if math.prod(shape[name.startswith("test") :]) == 0:  # there may be no test examples
            raise self._mistake(name, f"must not be empty, got shape {list(shape)}")
        there = self._archive.getinfo(f"{name}.npy").file_size - begin
        if there != size:
            raise self._mistake(name, f"claims {size:,} bytes, and has {there:,}")
        return shape

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
        """An array's values, behind its header, and what that says."""
        with wrap_npz_errors(str(self._path), name):
            try:
                member = self._archive.getinfo(f"{name}.npy")
            except KeyError:
                raise self._mistake(name, f"is missing; {_HINT}") from None
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise self._mistake(name, f"must not be compressed; {_HINT}")
            opened = self._archive.open(member)
        with opened:
            with wrap_npz_errors(str(self._path), name):
                header = read_array_header(opened)
            yield opened, header

    def _mistake(self, name: str, text: str) -> DataError:
        return DataError(f"{self._path}: {name}: {text}")


class _BoundedReads(io.FileIO):
    """A file of which no read returns more than `_MAX_READ` bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_MAX_READ if size is None or size < 0 else min(size, _MAX_READ)) or b""


def _existing_file(spec: FeatureData) -> Path:
    """Raises DataError where there is none; of a pipe or a device nothing is read."""
    path = Path(spec.file)
    if not path.exists():
        raise DataError(f"dataset.file: {path}: there is no such file; {_HINT}")
    if not path.is_file():
        raise DataError(f"dataset.file: {path}: must be a regular file")
    return path

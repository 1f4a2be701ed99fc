"""Loads a campaign's data set through the cache."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workers.campaign.dataset_spec import (
    CustomData,
    DatasetSpec,
    Digits,
    FeatureData,
    ImageData,
    ImageFolder,
    ParquetImages,
    TorchvisionData,
)
from workers.common.arrays import UInt64s
from workers.datasets import digits, feature_file, image_folder, parquet_images, torchvision_data
from workers.datasets.cache import Cache, cache_root, hashed
from workers.datasets.content_notes import content_notes
from workers.datasets.dataset import Dataset
from workers.datasets.draws import fixed_random_state
from workers.datasets.file_stamps import check_unchanged, stamp
from workers.datasets.permuted_pixels import with_permuted_pixels
from workers.errors import DamagedDataError, DataError
from workers.user_code.boundary import user_code
from workers.user_code.loading import call_function, refuse_call

_NOT_DECODED = {"download", "permute_pixels", "encoder"}
"""Fields of a specification that decide nothing about the arrays that its files become."""

DECODING = 2
"""Version of how files become arrays: raise it when a change alters what any file decodes to."""


class _Reader(NamedTuple):
    """A kind of data set that is read from files."""

    source_files: Callable[[Any], Iterable[Path]]
    """The absolute paths of the files that decide the result; empty where they must be downloaded first."""
    decode: Callable[[Any, Path], Dataset]
    """Called with the specification and a scratch folder; large arrays are written there."""


def load_dataset(spec: DatasetSpec, fingerprint: str | None = None, *, trusted: bool = True) -> Dataset:
    """The data set of a campaign, its arrays read-only memory maps of the cache (see `cache_root`).

    Files are decoded only where the cache does not know them (by path, size, inode and times); a custom function is
    always called; what torchvision can download is downloaded where it is missing and the specification says so. With
    a `fingerprint` nothing is decoded or called where the cache has that data set, then without names of examples and
    notes.

    `trusted` False is for a specification that was not given to be carried out, as that of a store which is only read:
    no function is called and nothing is downloaded. What commands and notebooks do with stores is decided here alone.

    Raises DataError where the data cannot be read, are not what was promised, differ from the fingerprint, or the cache
    cannot be written. What a custom function raises passes through.
    """
    cache = Cache(cache_root())
    if fingerprint is not None:
        cached = cache.find(fingerprint)
        if cached is not None:
            return cached
    if not trusted:
        spec = _harmless(spec)
    if isinstance(spec, CustomData):
        dataset = _load_custom(spec, cache, fingerprint)
    else:
        dataset = _load_files(spec, cache)
        if isinstance(spec, ImageData) and spec.permute_pixels is not None:
            dataset = with_permuted_pixels(cache, dataset, spec.permute_pixels)
    if fingerprint is not None and dataset.fingerprint != fingerprint:
        raise DamagedDataError(f"data set: expected fingerprint {fingerprint}, got {dataset.fingerprint}")
    return dataset


def _harmless(spec: DatasetSpec) -> DatasetSpec:
    """The specification without downloads. Raises DataError where it names a function."""
    if isinstance(spec, CustomData):
        refuse_call(spec.name, DataError)
    return spec.model_copy(update={"download": False}) if isinstance(spec, TorchvisionData) else spec


def check_files(spec: DatasetSpec) -> None:
    """Raise DataError, saying what to do, where files are missing that only a download brings. Downloads nothing."""
    if isinstance(spec, TorchvisionData):
        torchvision_data.check_files(spec, download=False)


def _load_files(spec: DatasetSpec, cache: Cache) -> Dataset:
    if isinstance(spec, TorchvisionData):
        torchvision_data.check_files(spec, download=True)
    reader = _reader(spec)
    cached = cache.find_source(_source_key(spec, stamp(reader.source_files(spec))))
    if cached is not None:
        return cached
    # Locked by the specification alone: while one process downloads, the files, and so their key, change.
    with cache.building(hashed(_plain(spec))) as scratch:
        before = stamp(reader.source_files(spec))
        cached = cache.find_source(_source_key(spec, before))
        if cached is not None:
            return cached
        decoded = _with_content_notes(reader.decode(spec, scratch))
        files = list(reader.source_files(spec))
        after = stamp(files)
        if not getattr(spec, "download", False):
            check_unchanged(files, before, after)
        dataset = cache.add(decoded, scratch)
        if np.array_equal(before, after) or not len(before):
            cache.record_source(_source_key(spec, after), dataset, scratch)
        return dataset


def _load_custom(spec: CustomData, cache: Cache, expected: str | None) -> Dataset:
    """What the function gives: at two calls the same, be it that the cache or a fingerprint tells of an earlier one."""
    dataset = _called(spec)
    cached = cache.find(dataset.fingerprint, dataset.description)
    if cached is not None:
        return cached
    fingerprint = dataset.fingerprint
    if expected is None:
        dataset = _called(spec)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"{spec.name}: returns different data at each call, so a store could not be resumed: draw with a "
            "generator of a fixed seed (numpy.random.default_rng(0)), and sort what comes from a set or a folder"
        )
    with cache.building(dataset.fingerprint) as scratch:
        return cache.add(dataset, scratch)


def _called(spec: CustomData) -> Dataset:
    with user_code(spec.name), fixed_random_state():
        dataset = call_function(spec.name, DataError, **spec.options)
    if not isinstance(dataset, Dataset):
        raise DataError(f"{spec.name}: must return a workers.datasets.Dataset, got {type(dataset).__name__}")
    return _with_content_notes(dataset)


def _with_content_notes(dataset: Dataset) -> Dataset:
    return replace(dataset, notes=(*dataset.notes, *content_notes(dataset)))


def _reader(spec: DatasetSpec) -> _Reader:
    match spec:
        case Digits():
            return _Reader(digits.source_files, digits.decode)
        case ImageFolder():
            return _Reader(image_folder.source_files, image_folder.decode)
        case ParquetImages():
            return _Reader(parquet_images.source_files, parquet_images.decode)
        case FeatureData():
            return _Reader(feature_file.source_files, feature_file.decode)
        case _:
            return _Reader(torchvision_data.source_files, torchvision_data.decode)


def _source_key(spec: DatasetSpec, stamps: UInt64s) -> str:
    """A key of the specification and of its files' paths and states."""
    return hashed([_plain(spec), hashlib.sha256(stamps.tobytes()).hexdigest()])


def _plain(spec: DatasetSpec) -> dict[str, Any]:
    return {"decoding": DECODING, **spec.model_dump(mode="json", exclude=_NOT_DECODED)}

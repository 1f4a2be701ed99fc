"""Notes on the content of a data set: unused classes, duplicate and constant images."""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from workers.common.arrays import AnyArray
from workers.datasets.dataset import Dataset, chunks

MAX_HASHED = 20_000_000
"""Examples among which copies are looked for: a microsecond each."""

_DARK = 8
"""Pixels that reach no more than white divided by this are nearly black."""


def content_notes(dataset: Dataset) -> tuple[str, ...]:
    """A line for each thing that may not be meant; one pass over the examples, in blocks."""
    train, test = (_Summary(getattr(dataset, f"{split}_images")) for split in ("train", "test"))
    notes = (
        _class_notes(dataset),
        _shape_notes(dataset),
        _value_notes(dataset, train, test),
        _copies(dataset, train, test),
    )
    return tuple(chain.from_iterable(notes))


class _Summary:
    """Of a split's examples: least and greatest value, those of one value only, and a 64-bit hash of each."""

    def __init__(self, images: AnyArray) -> None:
        self.low, self.high = np.inf, -np.inf
        self.constant = np.zeros(len(images), dtype=bool)
        hashed = len(images) <= MAX_HASHED
        self.hashes = np.zeros(len(images) if hashed else 0, dtype=np.uint64)
        start = 0
        for chunk in chunks(images):
            rows = chunk.reshape(len(chunk), -1)
            lows, highs = rows.min(axis=1), rows.max(axis=1)
            self.low, self.high = min(self.low, float(lows.min())), max(self.high, float(highs.max()))
            self.constant[start : start + len(rows)] = (lows == highs) & (rows.shape[1] > 1)
            if hashed:
                self.hashes[start : start + len(rows)] = _hashes(rows)
            start += len(rows)


def _hashes(rows: AnyArray) -> list[int]:
    return [int.from_bytes(hashlib.blake2b(row.data, digest_size=8).digest()) for row in rows]


def _class_notes(dataset: Dataset) -> Iterator[str]:
    names = dataset.class_names
    counts = np.bincount(dataset.train_labels, minlength=len(names))
    unused = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if len(names) > 1 and len(unused) == len(names) - 1:
        yield f"all training examples are of the class {names[int(np.argmax(counts))]}"
    elif unused:
        yield f"{len(unused):,} of {len(names):,} classes have no training examples: {_few(unused)}"
    if dataset.num_test:
        tested = np.bincount(dataset.test_labels, minlength=len(names))
        untested = [name for name, count, used in zip(names, tested, counts, strict=True) if used and not count]
        if untested:
            yield f"{len(untested):,} of {len(names):,} classes have no test examples: {_few(untested)}"
    first: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", " ".join(name.split())).casefold()
        if folded in first:
            same = "twice the same" if first[folded] == name else "alike but for case, blanks or Unicode form"
            yield f"class names are {same}: {first[folded]!r}, {name!r}"
            break
        first[folded] = name


def _shape_notes(dataset: Dataset) -> Iterator[str]:
    if len(dataset.input_shape) != 3:
        return
    channels, height, width = dataset.input_shape
    few = width in (1, 3, 4) and channels not in (1, 3, 4) and 1 < height != width
    square = channels == height > width
    if few or square:
        yield (
            f"examples are taken for {channels} channels of {height} x {width}; where they are {channels} x {height} "
            f"pixels of {width} channels, transpose them: images.transpose(0, 3, 1, 2)"
        )


def _value_notes(dataset: Dataset, train: _Summary, test: _Summary) -> Iterator[str]:
    if dataset.train_images.dtype == np.uint8 and train.high <= dataset.white / _DARK:
        yield f"training pixels reach only {train.high:g}, and {dataset.white:g} is white: images are nearly black"
    is_image = dataset.train_images.dtype == np.float32 and len(dataset.input_shape) == 3
    if is_image and train.low >= 0 and train.high > 2 * dataset.white:
        yield (
            f"training values reach {train.high:g}, and {dataset.white:g} is white: keep images as uint8, or give the "
            "data set its white"
        )
    if dataset.num_test:
        reach = [max(abs(each.low), abs(each.high)) for each in (train, test)]
        if max(reach) > _DARK * min(reach):
            yield f"training values reach {reach[0]:g}, test values {reach[1]:g}: are both scaled alike?"
    for split, summary in (("training", train), ("test", test)):
        constant = np.flatnonzero(summary.constant)
        if len(constant):
            example = f"{split} example {constant[0]}"
            yield f"{_examples(len(constant), split)} one value in all places, for example {example}"


def _copies(dataset: Dataset, train: _Summary, test: _Summary) -> Iterator[str]:
    if len(train.hashes) < dataset.num_train or len(test.hashes) < dataset.num_test:
        return
    known, first, inverse = np.unique(train.hashes, return_index=True, return_inverse=True)
    original = first[inverse]
    copies = np.flatnonzero(original != np.arange(len(original)))
    if len(copies):
        relabelled = np.count_nonzero(dataset.train_labels[copies] != dataset.train_labels[original[copies]])
        labels = f", {relabelled:,} of them with another label" if relabelled else ""
        yield (
            f"{_examples(len(copies), 'training')} an exact copy before them{labels}, for example training example "
            f"{copies[0]} (of {original[copies[0]]})"
        )
    leaked: npt.NDArray[np.intp] = np.flatnonzero(np.isin(test.hashes, known))
    if len(leaked):
        source = first[np.searchsorted(known, test.hashes[leaked[0]])]
        yield (
            f"{_examples(len(leaked), 'test')} an exact copy in training, for example test example {leaked[0]} "
            f"(training example {source})"
        )


def _examples(count: int, split: str) -> str:
    return f"1 {split} example has" if count == 1 else f"{count:,} {split} examples have"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

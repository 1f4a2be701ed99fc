"""The one type that every data set becomes."""

from typing import Any

import numpy as np
import pytest

from tests.datasets.support import error_of, make_dataset

INFINITE = np.array([[0, 1], [0, -np.inf]], dtype=np.float32)


def test_a_dataset_tells_its_sizes() -> None:
    dataset = make_dataset(train_labels=np.array([0, 1, 2, 1], dtype=np.uint8))
    assert (dataset.num_train, dataset.num_test, dataset.num_classes) == (4, 2, 3)
    assert dataset.input_shape == (3, 2, 2)
    assert dataset.train_labels.dtype == np.int64
    assert dataset.white == 255.0


def test_features_of_any_shape_are_left_as_they_are_by_default() -> None:
    features = np.ones((4, 5), dtype=np.float32)
    dataset = make_dataset(train_images=features, test_images=features[:0], test_labels=np.zeros(0, dtype=int))
    assert (dataset.white, dataset.input_shape, dataset.num_test) == (1.0, (5,), 0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train_images": [[1]]}, "train_images: must be a NumPy array, got list"),
        ({"train_images": np.zeros((4, 3, 2, 2))}, "train_images: must be uint8 or float32, got float64"),
        ({"train_images": np.zeros((4, 12), dtype=np.uint8)}, "must be [N, C, H, W], got shape [4, 12]"),
        ({"train_images": np.zeros((4, 9, 9), dtype=np.uint8)}, "grey images lack their channel: images[:, None]"),
        (
            {"train_images": np.zeros((4, 8, 8, 3), dtype=np.uint8)},
            "got shape [4, 8, 8, 3], which looks like [N, H, W, C]",
        ),
        ({"train_images": np.zeros((4, 28, 28, 1), dtype=np.uint8)}, "transpose it: images.transpose(0, 3, 1, 2)"),
        ({"train_images": np.zeros((4, 48, 64, 4), dtype=np.uint8)}, "which looks like [N, H, W, C]"),
        ({"train_images": np.zeros((4, 3, 0, 2), dtype=np.uint8)}, "train_images: must be [N, ...] with at least"),
        (
            {"train_images": np.full((4, 2), np.nan, dtype=np.float32)},
            "train_images: must be finite, got NaN or infinity in example 0",
        ),
        ({"test_images": INFINITE}, "test_images: must be finite, got NaN or infinity in example 1"),
        ({"test_images": np.zeros((2, 3, 2, 2), dtype=np.float32)}, "test_images: must be uint8 like train_images"),
        ({"test_images": np.zeros((2, 3, 2, 1), dtype=np.uint8)}, "must be [T, 3, 2, 2] like train_images"),
        ({"test_labels": np.array([0])}, "test_labels: must have shape [2], one label for each image, got [1]"),
        ({"train_labels": np.zeros(4)}, "train_labels: must be a NumPy array of integers, got float64"),
        ({"train_labels": [0, 1, 2, 1]}, "train_labels: must be a NumPy array of integers, got list"),
        ({"train_labels": np.array([0, 1, 3, 1])}, "must be 0 to 2 (class_names has 3), got 3 at example 2"),
        ({"test_labels": np.array([0, -1])}, "test_labels: must be 0 to 2 (class_names has 3), got -1 at example 1"),
        ({"class_names": "abc"}, "class_names: must be one or more strings, got 'abc'"),
        ({"class_names": ()}, "class_names: must be one or more strings"),
        ({"train_names": "abcd"}, "train_names: must be a sequence of strings, got 'abcd'"),
        ({"train_names": ["a", "b", "c"]}, "train_names: must have 4 names, one for each example, got 3"),
        ({"test_names": ["a", 1]}, "test_names: must be strings of valid Unicode"),
        ({"test_names": ["a", "\udcff"]}, "test_names: must be strings of valid Unicode"),
        ({"test_names": ["a", None]}, "test_names: must be a string for each example, got none for 1"),
        ({"test_names": ["a", "é" * 501]}, "test_names: must be at most 1000 bytes each, got 1002"),
        ({"notes": "one"}, "notes: must be strings, got 'one'"),
        ({"notes": ["one", 2]}, "notes: must be strings, got 2"),
        ({"white": 0.0}, "white: must be a number greater than 0, got 0.0"),
        ({"white": float("nan")}, "white: must be a number greater than 0, got nan"),
        (
            {"train_images": np.zeros((0, 3, 2, 2), dtype=np.uint8), "train_labels": np.zeros(0, dtype=int)},
            "train_images: needs 1 to 2**31 - 1 examples, got 0",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes: dict[str, Any], text: str) -> None:
    assert text in error_of(lambda: make_dataset(**changes))


def test_the_fingerprint_covers_pixels_labels_order_white_and_number_of_classes() -> None:
    base = make_dataset()
    pixel = base.train_images.copy()
    pixel[3, 2, 1, 1] ^= 1
    variants = [
        make_dataset(train_images=pixel),
        make_dataset(train_labels=np.array([0, 1, 2, 2])),
        make_dataset(test_labels=np.array([0, 2])),
        make_dataset(train_images=base.train_images[::-1], train_labels=base.train_labels[::-1]),
        make_dataset(
            train_images=base.train_images.reshape(4, 3, 4, 1), test_images=base.test_images.reshape(2, 3, 4, 1)
        ),
        make_dataset(white=16.0),
        make_dataset(class_names=("a", "b", "c", "d")),
    ]
    assert len({base.fingerprint, *(variant.fingerprint for variant in variants)}) == len(variants) + 1


def test_the_fingerprint_ignores_names_memory_layout_and_integer_type() -> None:
    base = make_dataset()
    same = make_dataset(
        train_images=np.asfortranarray(base.train_images),
        train_labels=base.train_labels.astype(np.int16),
        class_names=("x", "y", "z"),
        train_names=["d", "c", "b", "a"],
        notes=("1 file skipped",),
    )
    assert same.fingerprint == base.fingerprint


def test_notes_are_lines_of_bounded_number_and_length() -> None:
    assert make_dataset(notes=["two\nlines", "x" * 999]).notes == ("two lines", "x" * 497 + "...")
    notes = make_dataset(notes=[str(number) for number in range(99)]).notes
    assert (len(notes), notes[0], notes[-1]) == (50, "0", "and 50 notes more")


def test_the_fingerprint_is_pinned() -> None:
    """Stores hold it: a change of this value orphans every store."""
    assert make_dataset().fingerprint == "3af2763cfef061382df96d66b87cdd7b409b8caaf08b8c9dd05d9fc25258077e"

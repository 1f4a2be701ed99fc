"""What is odd about the examples of a data set."""

from typing import Any

import numpy as np
import pytest

from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from tests.datasets.support import make_dataset
from workers.datasets.content_notes import content_notes
from workers.errors import CampaignError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
FLOATS = RANDOM.random((6, 3, 5, 5), dtype=np.float32)
LAST = RANDOM.random((6, 8, 8, 3), dtype=np.float32)
MAPS = RANDOM.random((6, 64, 4, 4), dtype=np.float32)
TEST = RANDOM.integers(0, 256, (3, 3, 5, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
USUAL = {"train_images": IMAGES, "train_labels": LABELS, "test_images": TEST, "test_labels": np.array([0, 1, 2])}


def _changed(array: Any, at: int | slice, value: Any) -> Any:
    copy = array.copy()
    copy[at] = value
    return copy


def _floats(**changes: Any) -> dict[str, Any]:
    return {"train_images": FLOATS, "test_images": FLOATS[:0], "test_labels": LABELS[:0], **changes}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        _floats(),
        {"class_names": ("a", "b", "A b")},
        _floats(train_images=MAPS, test_images=MAPS[:0]),
        _floats(train_images=FLOATS - 0.5),
    ],
)
def test_usual_data_have_no_notes(fields: dict[str, Any]) -> None:
    assert content_notes(make_dataset(**{**USUAL, **fields})) == ()


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"train_labels": np.ones(6, int)}, "all training examples are of the class b"),
        ({"train_labels": LABELS % 2}, "1 of 3 classes have no training examples: c"),
        ({"class_names": tuple("abcdefghij")}, "7 of 10 classes have no training examples: d, e, f, g, h, ..."),
        ({"test_labels": np.zeros(3, int)}, "2 of 3 classes have no test examples: b, c"),
        ({"class_names": ("Cat", "dog", "cat ")}, "but for case, blanks or Unicode form: 'Cat', 'cat '"),
        ({"class_names": ("\u00e9", "e\u0301", "x")}, "class names are alike but for case, blanks or Unicode form"),
        ({"class_names": ("a", "b", "a")}, "class names are twice the same: 'a', 'a'"),
        ({"train_images": _changed(IMAGES, 4, 9)}, "1 training example has one value in all places, for"),
        ({"test_images": _changed(TEST, slice(1, 3), 9)}, "in all places, for example test example 1"),
        ({"train_images": _changed(IMAGES, 5, IMAGES[2])}, "copy before them, for example training example 5 (of 2)"),
        ({"train_images": _changed(IMAGES, slice(3, 5), IMAGES[:1])}, ", 1 of them with another label"),
        ({"test_images": _changed(TEST, 2, IMAGES[3])}, "for example test example 2 (training example 3)"),
        ({"train_images": IMAGES // 16}, "training pixels reach only 15, and 255 is white: images are nearly black"),
        (_floats(train_images=FLOATS * 255), "is white: keep images as uint8, or give the data set its white"),
        (_floats(test_images=FLOATS[:3] * 255, test_labels=LABELS[:3]), "are both scaled alike?"),
        ({"train_images": IMAGES[:, :, :3, :1], "test_images": TEST[:, :, :3, :1]}, "3 x 3 pixels of 1 channels"),
        (_floats(train_images=LAST, test_images=LAST[:0]), "8 channels of 8 x 3; where they are 8 x 8 pixels of 3"),
    ],
)  # fmt: skip
def test_what_is_odd_is_noted(fields: dict[str, Any], note: str) -> None:
    assert any(note in each for each in content_notes(make_dataset(**{**USUAL, **fields})))


def test_labels_that_are_all_equal_are_refused_before_training() -> None:
    dataset = make_dataset(**{**USUAL, "train_labels": np.ones(6, int)})
    with pytest.raises(CampaignError, match="needs training examples of 2 classes, but all 6 are of 'b'"):
        check_campaign_fits(small_campaign(), dataset)

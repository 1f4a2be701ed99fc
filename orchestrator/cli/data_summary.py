"""Summary of the loaded data set, the first lines of `plan`, `run` and `tune`: sizes, classes, skipped files."""

from collections.abc import Sequence

from workers.campaign.plural import count_text
from workers.datasets import Dataset

_MAX_CLASSES = 5
"""Class names that are shown; of more, the first three and the last."""
_MAX_NAME = 24
"""Characters of a class name."""
_MAX_NOTES = 10


def data_lines(dataset: Dataset) -> list[str]:
    """One line of sizes, shape and classes, then a line for each note, at most _MAX_NOTES.

    For example `data: 1,437 training and 360 test examples of 1 x 8 x 8, 10 classes (0, 1, 2, ... 9)`.
    """
    tests = f"{count_text(dataset.num_test, 'test example')}" if dataset.num_test else "no test examples"
    shape = " x ".join(map(str, dataset.input_shape))
    features = f"{shape} feature{'s' if shape != '1' else ''}" if len(dataset.input_shape) == 1 else shape
    classes = f"{dataset.num_classes:,} class{'es' if dataset.num_classes != 1 else ''}"
    first = f"data: {dataset.num_train:,} training and {tests} of {features}, {classes} ({_names(dataset.class_names)})"
    notes = [f"data: {note}" for note in dataset.notes[:_MAX_NOTES]]
    more = len(dataset.notes) - _MAX_NOTES
    return [first, *notes, *([f"data: {count_text(more, 'more note')}"] if more > 0 else [])]


def _names(names: Sequence[str]) -> str:
    short = [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..." for name in names]
    return ", ".join(short if len(short) <= _MAX_CLASSES else [*short[:3], f"... {short[-1]}"])

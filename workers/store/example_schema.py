"""The Parquet schema of `examples.parquet`: labels, given labels, scores and names, in canonical order."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.common.arrays import Bools
from workers.store.parquet.table_file import MAX_TEXT, MAX_TEXTS

ExampleNames = tuple[pa.Array | None, pa.Array | None]
"""Names of training and of test examples; None: they have none."""

EXAMPLES = pa.schema(
    [("split", pa.string()), ("example_id", pa.int64()), ("label", pa.int64()), ("given_label", pa.int64())]
)

SCORE, SPLIT_SCORE, CURRICULUM_SCORE = "score", "split_score", "curriculum_score"
"""Columns of scores, null for test examples: those that explicit subsets go by, those that split the examples into
typical and atypical ones for probes, and those by which a curriculum orders its partitions."""

_SCORES_OF = {
    "subsets.scores": SCORE,
    "record.probes.split.scores": SPLIT_SCORE,
    "recipe.curriculum.scores": CURRICULUM_SCORE,
}


def score_column(field: str) -> str:
    """The column of the scores that a campaign's field names (`Campaign.score_columns`): `score_NAME` where explicit
    subsets go by several columns."""
    _, _, name = field.partition("subsets.scores.")
    return subset_score(name) if name else _SCORES_OF[field]


def subset_score(name: str) -> str:
    """The column of the scores, of this name or without one, that explicit subsets go by."""
    return f"{SCORE}_{name}" if name else SCORE


EXAMPLE_NAMES = pa.schema([("label_name", pa.string()), ("given_label_name", pa.string()), ("name", pa.string())])
"""Columns that follow: names of the classes; and of the examples, where the data set has them. Older stores lack them.

A text is cut to MAX_TEXT bytes; a split without names has null.
"""


NOISY_IMAGE, SEEN_BY_ENCODER = "noisy_image", "seen_by_encoder"
"""Columns of truth values, null for test examples: whether the campaign's noise is in the pixels, of campaigns with
`image_noise`; whether the model whose features are the data set was trained on the example."""


MASKS = pa.field("masks", pa.list_(pa.uint8()))
"""The campaign's masks that have the example: mask k is bit k % 8, from the lowest, of byte k // 8; of test examples
all bits are 0."""


def examples_schema(scores: Iterable[str] = (), flags: Iterable[str] = (), *, masks: bool = False) -> pa.Schema:
    """The columns that a store has, with those of its campaign's scores, those of truth values, and masks."""
    own = [(name, pa.float64()) for name in scores] + [(name, pa.bool_()) for name in flags]
    return pa.schema([*EXAMPLES, *(pa.field(*column) for column in own), *([MASKS] if masks else [])])


def flags_sha256(flags: Bools) -> str:
    """SHA-256 (hex) of bool[N] in canonical order, a byte each: what a campaign's identity knows of them."""
    return hashlib.sha256(np.ascontiguousarray(flags, dtype=np.bool_).tobytes()).hexdigest()


def examples_table(
    label: npt.NDArray[np.int64],
    given_label: npt.NDArray[np.int64],
    test_label: npt.NDArray[np.int64],
    of_training: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
    *,
    class_names: Sequence[str] = (),
    names: ExampleNames = (None, None),
) -> pa.Table:
    """split, example_id, label, given_label (each int64[N], int64[T]): N + T rows in canonical order.

    `of_training`, by column, null for test examples: scores, float64[N] (columns of `score_column`), and bool[N]
    NOISY_IMAGE and SEEN_BY_ENCODER; uint8[N, bytes] MASKS, 0 for test examples. With class names label_name and
    given_label_name; with names of training or test examples (N and T texts) `name`, unless these take more than
    MAX_TEXTS bytes.
    """
    table = pa.table(
        {
            "split": pa.array(["train"] * len(label) + ["test"] * len(test_label)),
            "example_id": np.concatenate([np.arange(len(label)), np.arange(len(test_label))]),
            "label": np.concatenate([label, test_label]),
            "given_label": np.concatenate([given_label, test_label]),
        }
    )
    for column, values in of_training.items():
        if values.ndim == 2:
            padded = np.concatenate([values, np.zeros((len(test_label), values.shape[1]), values.dtype)])
            ends = np.arange(len(padded) + 1, dtype=np.int32) * values.shape[1]
            table = table.append_column(column, pa.ListArray.from_arrays(ends, padded.ravel()))
            continue
        own = pa.array(values)
        both = pa.chunked_array([own, pa.nulls(len(test_label), own.type)])
        table = table.append_column(column, both.combine_chunks())
    if len(class_names):
        known = stored_class_names(class_names)
        for column in ("label", "given_label"):
            table = table.append_column(f"{column}_name", known.take(table[column]))
    named = _name_column(names, (len(label), len(test_label)))
    return table if named is None else table.append_column("name", named)


def stored_class_names(class_names: Sequence[str]) -> pa.StringArray:
    """The names of classes as a store has them, each at most MAX_TEXT bytes."""
    return pa.array(class_name_texts(class_names), pa.string())


def class_name_texts(class_names: Sequence[str]) -> list[str]:
    """The same as texts."""
    return [name.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore") for name in class_names]


def _name_column(names: ExampleNames, counts: tuple[int, int]) -> pa.Array | None:
    if all(name is None for name in names) or sum(name.nbytes for name in names if name is not None) > MAX_TEXTS:
        return None
    splits = zip(names, counts, strict=True)
    return pa.concat_arrays(
        [pa.nulls(count, pa.string()) if each is None else pa.array(each).cast(pa.string()) for each, count in splits]
    )

"""Columns of outputs: of a model's logits for each training and test example, in evaluation mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import pyarrow as pa

from workers.campaign.record import Output, Record
from workers.common.splits import Split

ARROW_TYPES: Mapping[Output, pa.DataType] = {
    "margin": pa.float16(),
    "loss": pa.float16(),
    "probability": pa.float16(),
    "prediction": pa.int16(),
}
MAX_CLASSES = 1 << 15
"""Classes that a prediction, an int16, can tell apart."""

_NAMES: Mapping[Output, str] = {"loss": "cross_entropy"}
"""Where a column is not named by its output: `train_loss` is a run's mean loss over minibatches."""


@dataclass(frozen=True)
class OutputColumn:
    """A column of results: one output for every example of one split."""

    output: Output
    split: Split

    @property
    def name(self) -> str:
        """In results: `train_margin`, `test_cross_entropy`, ..."""
        return f"{self.split}_{_NAMES.get(self.output, self.output)}"

    @property
    def arrow_type(self) -> pa.DataType:
        """Of one value."""
        return ARROW_TYPES[self.output]


_SPLITS: tuple[Split, ...] = get_args(Split)

OUTPUT_COLUMNS = tuple(OutputColumn(output, split) for output in ARROW_TYPES for split in _SPLITS)
"""Every column of outputs that a campaign may record, in their order."""


def output_columns(record: Record) -> tuple[OutputColumn, ...]:
    """Those that a campaign records."""
    requested = {OutputColumn(output, split) for output in record.outputs for split in _SPLITS}
    requested |= {OutputColumn("margin", "test")} if record.margins else set()
    return tuple(column for column in OUTPUT_COLUMNS if column in requested)


def output_bits(record: Record, num_train: int, num_test: int) -> int:
    """Of the outputs of one row, before compression."""
    counts = {"train": num_train, "test": num_test}
    return sum(counts[column.split] * int(column.arrow_type.bit_width) for column in output_columns(record))

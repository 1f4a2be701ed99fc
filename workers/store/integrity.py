"""Integrity checks of results and examples: each file is read completely and compared with its name and hashes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.common.arrays import Bools, Floats
from workers.errors import DamagedFileError
from workers.store import schema
from workers.store.content_hash import file_hash
from workers.store.example_schema import MASKS, NOISY_IMAGE, class_name_texts, flags_sha256
from workers.store.header import Header
from workers.store.parquet.table_file import TableFile
from workers.subsets.draw import noisy_images
from workers.subsets.explicit import scores_sha256
from workers.subsets.masks import SubsetMasks

_KEYS = ("run_id", "ratio", "repetition", "epoch", "is_final", "status")


def check_results(file: TableFile, shard: Shard) -> None:
    """Raise DamagedFileError unless a results file is whole and unaltered, and holds its runs."""
    metadata = file.metadata
    file.keep()
    if metadata.get("content_sha256") != file_hash(file):
        raise DamagedFileError("its content does not match its committed hash")
    _check_runs(file, shard)
    widths = file.layout.widths
    for table in file.groups():
        if not schema.consistent(table, *(schema.matrix(table, name, widths[name]) for name in schema.VECTORS)):
            raise DamagedFileError("its accuracies do not match its vectors")


def _check_runs(file: TableFile, shard: Shard) -> None:
    """Every run of the shard, ascending, its epochs ascending, the last one final."""
    table = file.read_all(_KEYS)
    repetitions, epochs = (table[name].to_numpy() for name in ("repetition", "epoch"))
    final = table["is_final"].to_numpy()
    starts = np.flatnonzero(np.diff(repetitions, prepend=-1))
    held = repetitions[starts]
    if not np.array_equal(held, np.arange(shard.start, shard.stop)):
        raise DamagedFileError("does not contain the runs in its name")
    runs = dict(zip(held.tolist(), (run.run_id for run in shard.runs), strict=True))
    named = [runs[repetition] for repetition in repetitions.tolist()]
    if table["run_id"].to_pylist() != named or set(table["ratio"].to_pylist()) != {shard.runs[0].ratio}:
        raise DamagedFileError("does not contain the runs in its name")
    last = np.append(starts[1:], len(epochs)) - 1
    ascending = np.diff(epochs) > 0
    ascending[starts[1:] - 1] = True  # from one run to the next
    if not ascending.all() or not np.array_equal(np.flatnonzero(final), last):
        raise DamagedFileError("its epochs are out of order")


def check_examples(file: TableFile, header: Header) -> None:
    """Raise DamagedFileError unless the examples are those of the header, in canonical order."""
    table = file.read_all()
    expected = ["train"] * header.num_train + ["test"] * header.num_test
    if table["split"].to_pylist() != expected:
        raise DamagedFileError(f"does not contain {header.num_train} training and {header.num_test} test examples")
    ids = np.concatenate([np.arange(header.num_train), np.arange(header.num_test)])
    if not np.array_equal(_integers(table, "example_id"), ids):
        raise DamagedFileError("does not contain the examples in canonical order")
    for name in ("label", "given_label"):
        labels = _integers(table, name)
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(header.class_names)):
            raise DamagedFileError(f"column {name}: contains a class that is not in the data set")
        if f"{name}_name" in table.column_names:
            texts = class_name_texts(header.class_names)
            named = zip(table[name].to_pylist(), table[f"{name}_name"].to_pylist(), strict=True)
            if any(text != texts[label] for label, text in named):
                raise DamagedFileError(f"column {name}_name: does not contain the class names")
    for name in header.score_columns:
        check_scores(table[name].combine_chunks(), name, header)
    for name in header.flag_columns:
        check_flags(table[name].combine_chunks(), name, header)
    if header.masks is not None:
        check_masks(table[MASKS.name].combine_chunks(), header)


def _integers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column's values; `to_numpy` imports pandas, which `longtail status` does not need."""
    column = table[name].combine_chunks()
    plain = pa.types.is_integer(column.type) and column.null_count == 0
    values: npt.NDArray[Any] = np.from_dlpack(column) if plain else column.to_numpy(zero_copy_only=False)
    return values


def check_flags(column: pa.BooleanArray, name: str, header: Header) -> Bools:
    """bool[N] of a column of N + T truth values, which is one of `Header.flag_columns`.

    Raises DamagedFileError unless they are the campaign's: the noisy images that it draws, or the examples that the
    encoder of its features was trained on.
    """
    of_training, of_tests = column.slice(0, header.num_train), column.slice(header.num_train)
    flags: Bools = of_training.to_numpy(zero_copy_only=False)
    ours = of_training.null_count == 0 and of_tests.null_count == len(of_tests)
    if name == NOISY_IMAGE:
        campaign = header.campaign
        ours &= isinstance(campaign, Campaign) and np.array_equal(flags, noisy_images(campaign, header.num_train))
    else:
        ours = ours and header.encoder is not None and flags_sha256(flags) == header.encoder.seen_sha256
    if not ours:
        raise DamagedFileError(f"column {name}: does not contain the values of the campaign")
    return flags


def check_masks(column: pa.ListArray, header: Header) -> SubsetMasks:
    """The masks of a column of N + T. Raises DamagedFileError unless they are the campaign's."""
    values = column.flatten().to_numpy()
    width = header.mask_bytes
    if header.masks is not None and len(values) == len(column) * width and not values[header.num_train * width :].any():
        bits = values[: header.num_train * width].reshape(header.num_train, width)
        masks = SubsetMasks(bits, header.masks.count or 0)
        if masks.sha256() == header.masks.sha256:
            return masks
    raise DamagedFileError(f"column {MASKS.name}: does not contain the campaign's masks")


def check_scores(column: pa.DoubleArray, name: str, header: Header) -> Floats:
    """float64[N] of the N + T scores of a column, in canonical order.

    Raises DamagedFileError unless they are the campaign's.
    """
    scores: Floats = column.slice(0, header.num_train).to_numpy(zero_copy_only=False)
    of_tests = column.slice(header.num_train)
    if scores_sha256(scores) != header.score_columns[name].sha256 or of_tests.null_count < len(of_tests):
        raise DamagedFileError(f"column {name}: does not contain the campaign's scores")
    return scores

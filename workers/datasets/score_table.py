"""Reads the score tables of explicit subsets, and of the split that probes compare."""

import numpy as np
import pyarrow as pa

from workers.campaign.campaign import PPM
from workers.campaign.score_column import ScoreColumn
from workers.common.arrays import Floats
from workers.datasets.example_table import ExampleTable
from workers.subsets.explicit import scores_sha256

_RATIO = "ratio"


def read_scores(source: ScoreColumn, num_train: int, field: str = "subsets.scores") -> Floats:
    """float64[N], the score of each training example in canonical order; may be infinite, never NaN. `field` is the
    campaign's that names the table.

    Raises CampaignError, in one line that names the file, where it has not one number for each of `num_train` examples,
    or not those that `sha256` asks for; StoreError where the place cannot be reached.
    """
    table = _at_ratio(ExampleTable.read(source.file, field, (source.column, _RATIO), npz_column=source.column), source)
    column = table.column(source.column)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise table.mistake("column", f"column {source.column} must hold numbers, got {column.type}")
    try:
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:  # a rounded integer would equal its neighbours
        text = f"column {source.column} must hold integers that float64 has exactly, from -2**53 to 2**53: {error}"
        raise table.mistake("column", text) from error
    scores = np.empty(num_train)
    scores[table.ids(num_train)] = values + 0.0  # -0.0 becomes 0.0: equal scores have one hash
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        text = f"must have a number for each example, got none for {len(missing)}, example {missing[0]} first"
        raise table.mistake("column", f"column {source.column} {text}")
    sha256 = scores_sha256(scores)
    if source.sha256 is not None and source.sha256 != sha256:
        text = f"column {source.column} has other scores, SHA-256 {sha256}, than {source.sha256}"
        raise table.mistake("sha256", text)
    return scores


def _at_ratio(example_table: ExampleTable, source: ScoreColumn) -> ExampleTable:
    """The rows at the ratio that was requested; all where a table has none, or but one."""
    table = example_table.table
    if _RATIO not in table.column_names:
        if source.ratio is not None:
            raise example_table.mistake(_RATIO, f"has no column ratio to look for {source.ratio:g} in")
        return example_table
    try:
        ratios = table[_RATIO].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise example_table.mistake(_RATIO, f"column ratio must hold numbers, got {table[_RATIO].type}") from error
    ratios_ppm = np.round(ratios * PPM)
    there = ", ".join(f"{each / PPM:g}" for each in np.unique(ratios_ppm)[:20])
    if source.ratio is None:
        if len(np.unique(ratios_ppm)) > 1:
            raise example_table.mistake(_RATIO, f"has rows at several ratios: must be one of {there}, got none")
        return example_table
    chosen = ratios_ppm == round(source.ratio * PPM)
    if not chosen.any():
        raise example_table.mistake(_RATIO, f"must be one of {there}, got {source.ratio:g}")
    return ExampleTable(table.filter(pa.array(chosen)), example_table.place, example_table.field)

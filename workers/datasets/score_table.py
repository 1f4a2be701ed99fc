"""Reads tables of scores: those that a campaign names, and those that estimates are grouped by or compared with."""

import numpy as np
import pyarrow as pa

from workers.campaign.campaign import PPM
from workers.campaign.score_column import ScoreColumn
from workers.common.arrays import Floats
from workers.datasets.example_table import ExampleTable
from workers.subsets.explicit import scores_sha256

RATIO = "ratio"
"""The column of a table's ratios."""


def read_scores(source: ScoreColumn, num_train: int, field: str = "subsets.scores") -> Floats:
    """float64[N], the score of each training example in canonical order; may be infinite, never NaN. `field` is the
    campaign's that names the table.

    Raises CampaignError, in one line that names the file, where it has not one number for each of `num_train` examples,
    or not those that `sha256` asks for; StoreError where the place cannot be reached.
    """
    whole = ExampleTable.read(source.file, field, (source.column, RATIO), npz_column=source.column)
    table = rows_at_ratio(whole, source.ratio)
    scores = column_scores(table, source.column, num_train)
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        text = f"must have a number for each example, got none for {len(missing)}, example {missing[0]} first"
        raise table.mistake("column", f"column {source.column} {text}")
    sha256 = scores_sha256(scores)
    if source.sha256 is not None and source.sha256 != sha256:
        text = f"column {source.column} has other scores, SHA-256 {sha256}, than {source.sha256}"
        raise table.mistake("sha256", text)
    return scores


def column_scores(table: ExampleTable, name: str, num_train: int) -> Floats:
    """float64[N], a column's number of each example in canonical order, NaN for none. Raises CampaignError."""
    column = table.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise table.mistake("column", f"column {name} must hold numbers, got {column.type}")
    try:
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:  # a rounded integer would equal its neighbours
        text = f"column {name} must hold integers that float64 has exactly, from -2**53 to 2**53: {error}"
        raise table.mistake("column", text) from error
    scores = np.empty(num_train)
    scores[table.ids(num_train)] = values + 0.0  # -0.0 becomes 0.0: equal scores have one hash
    return scores


def rows_at_ratio(example_table: ExampleTable, ratio: float | None) -> ExampleTable:
    """The rows at a ratio; all where a table has none, or but one. Raises CampaignError where none is requested and
    there are several, and where the requested one is not there."""
    table = example_table.table
    if RATIO not in table.column_names:
        if ratio is not None:
            raise example_table.mistake(RATIO, f"has no column ratio to look for {ratio:g} in")
        return example_table
    try:
        ratios = table[RATIO].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise example_table.mistake(RATIO, f"column ratio must hold numbers, got {table[RATIO].type}") from error
    ratios_ppm = np.round(ratios * PPM)
    there = ", ".join(f"{each / PPM:g}" for each in np.unique(ratios_ppm)[:20])
    if ratio is None:
        if len(np.unique(ratios_ppm)) > 1:
            raise example_table.mistake(RATIO, f"has rows at several ratios: must be one of {there}, got none")
        return example_table
    chosen = ratios_ppm == round(ratio * PPM)
    if not chosen.any():
        raise example_table.mistake(RATIO, f"must be one of {there}, got {ratio:g}")
    return ExampleTable(table.filter(pa.array(chosen)), example_table.place, example_table.field)

"""The scores of explicit subsets: read from a table where a campaign is started, known by their hash ever after."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from workers.campaign import PARTS
from workers.errors import CampaignError
from workers.explicit_subsets import Floats, scores_sha256
from workers.specs import ScoreColumn
from workers.store.files import open_files

_ID, _RATIO = "example_id", "ratio"


def read_scores(source: ScoreColumn, num_train: int) -> Floats:
    """float64[N], the score of each training example in canonical order; may be infinite, never NaN.

    Raises CampaignError, in one line that names the file, where it has not one number for each of `num_train` examples,
    or not those that `sha256` asks for; StoreError where the place cannot be reached.
    """
    table = _at_ratio(_read_table(source.file), source)
    if source.column not in table.column_names:
        raise _mistake(source, "column", f"has no column {source.column!r}, only {', '.join(table.column_names)}")
    column = table[source.column]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise _mistake(source, "column", f"column {source.column} must hold numbers, got {column.type}")
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    ids = _ids(table, source, num_train)
    scores = np.empty(num_train)
    scores[ids] = values + 0.0  # -0.0 becomes 0.0: equal scores have one hash
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        text = f"must have a number for each example, got none for {len(missing)}, example {missing[0]} first"
        raise _mistake(source, "column", f"column {source.column} {text}")
    found = scores_sha256(scores)
    if source.sha256 is not None and source.sha256 != found:
        raise _mistake(
            source, "sha256", f"column {source.column} has other scores, SHA-256 {found}, than {source.sha256}"
        )
    return scores


def _read_table(place: str) -> pa.Table:
    """Parquet, by its first bytes, or else CSV."""
    # A URI's options (?region=...) belong to the place, not to the name in it.
    path, mark, options = place.partition("?") if "://" in place else (place, "", "")
    folder, slash, name = path.rpartition("/")
    content = open_files(f"{folder or slash or '.'}{mark}{options}").read(name)
    if content is None:
        raise CampaignError(f"subsets.scores.file: {place}: there is no such file")
    try:
        if content.size >= 4 and content.slice(0, 4).to_pybytes() == b"PAR1":
            table = pq.read_table(pa.BufferReader(content))
        else:
            table = pacsv.read_csv(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise CampaignError(
            f"subsets.scores.file: {place}: is neither Parquet nor CSV that can be read: {reason}"
        ) from error
    twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if twice is not None:
        raise CampaignError(f"subsets.scores.file: {place}: has the column {twice} twice")
    return table


def _at_ratio(table: pa.Table, source: ScoreColumn) -> pa.Table:
    """The rows at the ratio that was asked for; all where a table has none, or but one."""
    if _RATIO not in table.column_names:
        if source.ratio is not None:
            raise _mistake(source, _RATIO, f"has no column ratio to look for {source.ratio:g} in")
        return table
    try:
        ratios = table[_RATIO].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise _mistake(source, _RATIO, f"column ratio must hold numbers, got {table[_RATIO].type}") from error
    parts = np.round(ratios * PARTS)
    there = ", ".join(f"{each / PARTS:g}" for each in np.unique(parts)[:20])
    if source.ratio is None:
        if len(np.unique(parts)) > 1:
            raise _mistake(source, _RATIO, f"has rows at several ratios: must be one of {there}, got none")
        return table
    chosen = parts == round(source.ratio * PARTS)
    if not chosen.any():
        raise _mistake(source, _RATIO, f"must be one of {there}, got {source.ratio:g}")
    return table.filter(pa.array(chosen))


def _ids(table: pa.Table, source: ScoreColumn, num_train: int) -> npt.NDArray[np.int64]:
    """int64[N], which example each row is of."""
    if _ID not in table.column_names:
        if len(table) != num_train:
            text = f"without a column {_ID} must have a row for each of {num_train} training examples, got {len(table)}"
            raise _mistake(source, "file", text)
        return np.arange(num_train)
    column = table[_ID]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise _mistake(source, "file", f"column {_ID} must hold whole numbers, got {column.type}")
    must = f"column {_ID} must hold each of 0 to {num_train - 1} once"
    outside = table.filter(pc.or_(pc.less(column, 0), pc.greater_equal(column, num_train)))
    if len(outside):
        raise _mistake(source, "file", f"{must}, got {outside[_ID][0].as_py()}")
    ids: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
    times = np.bincount(ids, minlength=num_train)
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        raise _mistake(source, "file", f"{must}, got {wrong[0]} {times[wrong[0]]} times")
    return ids


def _mistake(source: ScoreColumn, field: str, text: str) -> CampaignError:
    return CampaignError(f"subsets.scores.{field}: {source.file}: {text}")

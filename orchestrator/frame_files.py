"""Writes a data frame as CSV or Parquet, by the suffix of its path."""

from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import CampaignError, CommandError, LongtailError

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".parquet", ".csv")


def check_output(path: Path | None) -> None:
    """Find out before anything is computed that `write_frame` cannot write there.

    Raises CampaignError for an ending that is not known, CommandError where there is no such folder, or a
    folder of that name.
    """
    if path is None:
        return
    if path.suffix not in ENDINGS:
        raise CampaignError(f"--output: must end with {' or '.join(ENDINGS)}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise CommandError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise CommandError(f"{path}: cannot be written: is not a file")


def write_frame(frame: "pd.DataFrame", path: Path) -> None:
    """Write as Parquet or CSV, by the ending; a file that is there is replaced, when the new one is whole.

    Raises LongtailError where it cannot be written.
    """
    unfinished = path.with_name(f"_{path.name}")
    try:
        if path.suffix == ".csv":
            frame.to_csv(unfinished, index=False)
        else:
            frame.to_parquet(unfinished, index=False)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LongtailError(f"{path}: cannot be written: {error.strerror or error}") from error

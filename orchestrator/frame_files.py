"""Writes a data frame as CSV or Parquet, by the suffix of its path."""

from pathlib import Path
from typing import TYPE_CHECKING

from workers.common.whole_file import check_place, replace_file
from workers.errors import CampaignError

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".parquet", ".csv")


def check_output(path: Path | None, option: str = "output") -> None:
    """Find out before anything is computed that `write_frame` cannot write there; `option` names it.

    Raises CampaignError for an ending that is not known, CommandError and LongtailError as `check_place`.
    """
    if path is None:
        return
    if path.suffix not in ENDINGS:
        raise CampaignError(f"--{option}: must end with {' or '.join(ENDINGS)}, got {str(path)!r}")
    check_place(path)


def write_frame(frame: "pd.DataFrame", path: Path) -> None:
    """Write as Parquet or CSV, by the ending; a file that is there is replaced, when the new one is whole.

    Raises LongtailError where it cannot be written.
    """

    def write(unfinished: Path) -> None:
        if path.suffix == ".csv":
            frame.to_csv(unfinished, index=False)
        else:
            frame.to_parquet(unfinished, index=False)

    replace_file(path, write)

"""Writes a figure where the user asked for it."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import CampaignError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".pdf", ".svg")


def check_figure(path: Path | None, option: str) -> None:
    """Raise CampaignError, which names the option, where the ending is that of no picture."""
    if path is not None and path.suffix not in ENDINGS:
        raise CampaignError(f"--{option}: must end with {', '.join(ENDINGS)}, got {str(path)!r}")


def write_figure(figure: "Figure", path: Path) -> None:
    """Write as the ending says; a file that is there is replaced. Raises CampaignError where it cannot be written."""
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise CampaignError(f"{path}: cannot be written: {error.strerror}") from error

"""Draws a figure and writes it to the path given."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.common.whole_file import check_place
from workers.errors import CampaignError

ENDINGS = (".png", ".pdf", ".svg")


def check_figure(path: Path | None, option: str) -> None:
    """Raise CampaignError, which names the option, where the ending is that of no picture; and as `check_place`."""
    if path is None:
        return
    if path.suffix not in ENDINGS:
        raise CampaignError(f"--{option}: must end with {', '.join(ENDINGS)}, got {str(path)!r}")
    check_place(path)


def write_figure(path: Path, draw: Callable[..., Any], *inputs: Any) -> None:
    """Draw `inputs` with a function of `analysis.plot`, and write the figure as the ending says.

    A file that is there is replaced. No window is opened, and no figure left behind. Raises CampaignError where the
    file cannot be written, and what the function raises.
    """
    import numpy as np
    from matplotlib import pyplot

    pyplot.switch_backend("agg")  # it needs no display
    before = set(pyplot.get_fignums())
    picture = io.BytesIO()
    try:
        axes = np.ravel(draw(*inputs))
        axes[0].figure.savefig(picture, format=path.suffix[1:])
    finally:
        for number in set(pyplot.get_fignums()) - before:
            pyplot.close(number)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise CampaignError(f"{path}: cannot be written: {error.strerror}") from error

"""Matplotlib figures as inline SVG that follows the page's fonts and colours in light and dark mode.

Figures are drawn in placeholder colours, which become the page's CSS variables.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, GRID, MAIN = "#010203", "#020304", "#030405"
"""Text and axes; grid lines; the one series of a figure with one."""
SERIES = tuple(f"#0405{number:02x}" for number in range(10))
"""Up to ten groups in their order, from the first colour of the page to the last."""

_VARIABLES = {
    INK: "var(--ink)",
    GRID: "var(--rule)",
    MAIN: "var(--accent)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}
_STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "axes.linewidth": 0.7,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "longtail",
}


@contextmanager
def drawing() -> Iterator[tuple["Figure", "Axes"]]:
    """A figure of 346 x 238 points with axes in the page's style: legible at the width of a phone and of a page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        yield figure, figure.add_subplot()


def as_svg(figure: "Figure", name: str) -> str:
    """The figure as an <svg> element to be put into a page; `name`, different in each, keeps ids apart."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context(_STYLE):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    head, body = text.split(">", 1)
    text = re.sub(r'\s(?:width|height|version)="[^"]*"', "", head) + ">" + body  # the page decides how large it is
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1))

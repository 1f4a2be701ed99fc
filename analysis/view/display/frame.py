"""A pandas frame whose notebook display has the images of the examples."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from analysis.view.display.images import DatasetImages
from analysis.view.display.table import MAX_COLUMNS, html_table


class Frame(pd.DataFrame):
    """A pandas frame in everything but `_repr_html_`; what pandas makes of it keeps images and class names.

    Pickles hold where the data set is, not the data set.
    """

    _metadata = ["_images", "_class_names"]  # noqa: RUF012 - pandas' own interface
    _images: DatasetImages | None = None
    _class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: pd.DataFrame, images: DatasetImages, class_names: tuple[str, ...]) -> "Frame":
        """The same data, not copied."""
        made = cls(frame)
        made._images, made._class_names = images, class_names
        return made

    @property
    def _constructor(self) -> Callable[..., "Frame"]:
        def make(*args: Any, **options: Any) -> Frame:
            made = Frame(*args, **options)
            made._images, made._class_names = self._images, self._class_names
            return made

        return make

    def _repr_html_(self) -> str | None:
        """The table, its images loaded when it is shown; pandas' own where columns have no names of their own."""
        if not pd.get_option("display.notebook_repr_html"):
            return None
        names = list(self.columns)
        if not names or len(names) > MAX_COLUMNS or len(set(names)) < len(names) or not all(map(_is_text, names)):
            own: str | None = super()._repr_html_()  # type: ignore[misc] # the stubs lack it
            return own
        return html_table(self, self._images, self._class_names)


def _is_text(name: object) -> bool:
    return isinstance(name, str)

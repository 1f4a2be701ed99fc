"""Arrays of numbers in a page: base64 of little-endian integers.

A column of values is `{"step", "wide", "values"}`: integers, each times `step`, the lowest standing for none. They are
int16, or int32 (`wide`) where a value would not fit; the step grows tenfold until the largest value fits.
"""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

STEP, COARSE_STEP = 1 / 10_000, 1 / 100
"""Of shares and influences; of epochs and events."""
FILTERED_STEP, FILTERED_COARSE_STEP = 1e-9, 1e-6
"""The same, of what the list filters by: as fine as int32 holds, so that a value near a limit is on its own side."""
NONE16, NONE32 = -(2**15), -(2**31)


def column(values: npt.NDArray[np.number[Any]], step: float = STEP) -> dict[str, Any]:
    """Finite values, or NaN for none, in steps of `step`, or of ten times that, and so on, where they are too large.

    No value is cut: rounding alone changes it, by at most half a step.
    """
    plain = values.astype(np.float64)
    largest = float(np.nanmax(np.abs(plain))) if np.isfinite(plain).any() else 0.0
    while largest / step > -NONE32 - 2:
        step *= 10
    wide = largest / step > -NONE16 - 2
    none, kind = (NONE32, "<i4") if wide else (NONE16, "<i2")
    scaled = np.nan_to_num(plain / step).round()
    return {"step": step, "wide": wide, "values": as_base64(np.where(np.isnan(plain), none, scaled).astype(kind))}


def whole(values: npt.NDArray[np.integer[Any]]) -> str:
    """Integers as int32."""
    return as_base64(values.astype("<i4"))


def as_base64(array: npt.NDArray[Any]) -> str:
    """The array's bytes in C order."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")

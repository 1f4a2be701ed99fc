"""The types of NumPy arrays, one name for each dtype."""

from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.number]
Objects = npt.NDArray[np.object_]
UInt8s = npt.NDArray[np.uint8]
UInt64s = npt.NDArray[np.uint64]

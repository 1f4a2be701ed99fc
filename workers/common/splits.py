"""The two parts of a data set."""

from typing import Literal

Split = Literal["train", "test"]

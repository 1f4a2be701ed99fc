"""Training engines: given runs and data on a device, trained models' correctness."""

from workers.training.engine import Engine
from workers.training.precision import Precision
from workers.training.sequential import SequentialEngine
from workers.training.stacked import StackedEngine

__all__ = ["Engine", "Precision", "SequentialEngine", "StackedEngine"]

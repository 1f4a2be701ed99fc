"""Training engines: given runs and data on a device, trained models' correctness."""

from workers.training.engine import Engine
from workers.training.sequential import SequentialEngine

__all__ = ["Engine", "SequentialEngine"]

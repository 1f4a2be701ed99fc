"""Training engines: train runs on a device and evaluate the correctness of every example."""

from workers.training.checkpoint_policy import ShardCheckpoints, training_conditions
from workers.training.dtype import Precision
from workers.training.engine import Checkpoints, Engine
from workers.training.sequential import SequentialEngine
from workers.training.stacked import StackedEngine

__all__ = [
    "Checkpoints",
    "Engine",
    "Precision",
    "SequentialEngine",
    "ShardCheckpoints",
    "StackedEngine",
    "training_conditions",
]

"""Model stacking: K models of one architecture as one program with batched weights."""

from workers.models.stacking.checking import unstackable_reason
from workers.models.stacking.model import NotStackableError, StackedModel, Weight
from workers.models.stacking.streamed import StreamedModels

ModelStack = StackedModel | StreamedModels
"""K models that train together, as either program."""

__all__ = ["ModelStack", "NotStackableError", "StackedModel", "StreamedModels", "Weight", "unstackable_reason"]

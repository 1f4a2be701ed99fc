"""Model stacking: K models of one architecture as one program with batched weights."""

from workers.models.stacking.checking import unstackable_reason
from workers.models.stacking.model import NotStackableError, StackedModel, Weight

__all__ = ["NotStackableError", "StackedModel", "Weight", "unstackable_reason"]

"""Many models of one shape as one program: a stack of K models, each with its own weights, in one set of tensors."""

from workers.models.stacking.checking import unstackable_reason
from workers.models.stacking.model import NotStackableError, StackedModel, Weight

__all__ = ["NotStackableError", "StackedModel", "Weight", "unstackable_reason"]

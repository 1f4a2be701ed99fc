"""Models: every family is built by one function from a campaign's `model` part and the data set's shape."""

from workers.models.building import build_model
from workers.models.checking import check_gradients, check_output, check_weights, model_notes

__all__ = ["build_model", "check_gradients", "check_output", "check_weights", "model_notes"]

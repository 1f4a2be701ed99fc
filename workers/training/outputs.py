"""Outputs of models for single examples, as stored: each is a function of logits and labels.

A logit that is not finite makes an output NaN, and a prediction -1. Values beyond float16 are held within its range.
"""

from collections.abc import Callable, Mapping

import torch

from workers.campaign.record import Output
from workers.store.schema import MAX_FLOAT16


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's logit less the largest other one: float[K, B, C] and int64[B] to float16[K, B].

    Positive only where the label is predicted, negative only where it is not.
    """
    index = _index(logits, labels)
    others = logits.scatter(2, index, -torch.inf).amax(dim=2)
    exact = logits.gather(2, index)[..., 0] - others
    return _float16(exact, logits)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy -log softmax(logits)[label]: float[K, B, C] and int64[B] to float16[K, B]."""
    return _float16(_log_likelihood(logits, labels).neg(), logits)


def probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's softmax probability: float[K, B, C] and int64[B] to float16[K, B]."""
    return _float16(_log_likelihood(logits, labels).exp(), logits)


def error_norm(log_probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """||softmax - onehot(label)||_2, from 0 to sqrt(2): log-probabilities float[K, B, C] and int64[K, B] to [K, B]."""
    index = _index(log_probabilities, labels)
    errors = log_probabilities.exp().scatter_add(2, index, log_probabilities.new_full((), -1.0).expand(index.shape))
    norms: torch.Tensor = torch.linalg.vector_norm(errors, dim=2)
    return norms


def prediction(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The predicted class: float[K, B, C] to int16[K, B]. Ties go to the lowest class."""
    del labels
    return logits.argmax(dim=2).where(logits.isfinite().all(dim=2), -1).to(torch.int16)


OUTPUTS: Mapping[Output, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], torch.dtype]] = {
    "margin": (margin, torch.float16),
    "loss": (loss, torch.float16),
    "probability": (probability, torch.float16),
    "prediction": (prediction, torch.int16),
}
"""Of each output its function and the type of its values."""


def _log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(dim=2).gather(2, _index(logits, labels))[..., 0]


def _index(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return labels.expand(len(logits), -1)[..., None]


def _float16(exact: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    held = exact.clamp(-MAX_FLOAT16, MAX_FLOAT16).where(logits.isfinite().all(dim=2), torch.nan)
    return held.to(torch.float16)

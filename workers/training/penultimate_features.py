"""Penultimate-layer features of a trained model: the inputs of its head for all examples."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.model_spec import ModelSpec
from workers.common.arrays import Bools
from workers.common.progress import ProgressCallback
from workers.common.splits import Split
from workers.errors import LongtailError, ModelError
from workers.models import build_model
from workers.models.head import find_head
from workers.training import Precision, SequentialEngine
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData
from workers.training.dtype import autocast_to
from workers.user_code.boundary import user_code

_BATCH = 2000


@dataclass(frozen=True)
class PenultimateFeatures:
    """A run's last hidden layer after its last epoch, float32[N, F], and what its model gets right, bool[N]."""

    features: torch.Tensor
    train_correct: Bools


def train_and_extract_features(
    campaign: Campaign,
    data: DeviceData,
    run: Run,
    precision: Precision = "float32",
    on_epoch: ProgressCallback = lambda done, total: None,
) -> PenultimateFeatures:
    """Train one run again and extract the features of its model, which a store does not keep.

    Deterministic: the same streams as the run's, so its subset, order and starting weights. Bit-identical with the
    store's run where that trained by itself too, on the same hardware and versions; as one of a stack it was computed
    in another order, and the two differ as by rounding, which training amplifies: `train_correct` tells how far.
    The campaign's probes measure nothing here.
    Raises ModelError as `check_head`, and LongtailError where the hidden layer is not finite.
    """
    epochs = campaign.recipe.epochs
    with user_code("model"), deterministic(data.device, precision):
        trainer = SequentialEngine(precision).start(campaign.without_probes(), data, [run])
        for epoch in range(1, epochs + 1):
            trainer.train_epoch()
            on_epoch(epoch, epochs)
        features = head_inputs(trainer.model, data, precision)
        check_finite(features, run)
        return PenultimateFeatures(features, trainer.evaluate().train_correct[0])


def check_finite(features: torch.Tensor, run: Run) -> None:
    """Raise LongtailError where one of a run's features is not finite."""
    if not features.isfinite().all():
        raise LongtailError(f"model: the last hidden layer of run {run.run_id} is not finite: training diverged")


def head_inputs(
    model: nn.Module, data: DeviceData, precision: Precision = "float32", split: Split = "train"
) -> torch.Tensor:
    """The inputs of the model's head for all examples of a split, float32[N, F] or [T, F], on the data's device.

    In evaluation mode, in which the model is left; images as they are, without augmentation or mirror image. Raises
    ModelError where the model has no head: no linear layer with an output per class at its end, or not one vector that
    goes into it for each example.
    """
    head = _head(model, data.num_classes)
    images = data.train_images if split == "train" else data.test_images
    features = torch.empty((len(images), head.in_features), device=data.device)
    model.eval()
    start = 0
    for raw in images.minibatches(np.arange(len(features)), _BATCH):
        inputs = data.scaled(raw)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast_to(precision, data.device):
            features[start : start + len(raw)] = _inputs(model, head, inputs)
        start += len(raw)
    return features


def check_head(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Check before anything is trained that `head_inputs` works: on a new model and two inputs of zeros.

    torch's generator stays as it is. Raises ModelError where the model has no head; what it raises passes through.
    """
    with user_code("model"), torch.random.fork_rng(devices=[]):
        model = build_model(spec, input_shape, num_classes).eval()
        _inputs(model, _head(model, num_classes), torch.zeros(2, *input_shape))


def _head(model: nn.Module, num_classes: int) -> nn.Linear:
    head = find_head(model)
    if head is None or head.out_features != num_classes:
        actual = "it has none" if head is None else f"its last one has {head.out_features}"
        raise ModelError(f"model: must have a last linear layer of {num_classes} outputs to have a head, {actual}")
    return head


def _inputs(model: nn.Module, head: nn.Linear, images: torch.Tensor) -> torch.Tensor:
    """What goes into the head for some images: float[B, F]."""
    seen: list[torch.Tensor] = []

    def look(module: nn.Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        seen.extend([*positional, *named.values()])

    with torch.no_grad(), head.register_forward_pre_hook(look, with_kwargs=True):
        model(images)
    shapes = [tuple(each.shape) for each in seen]
    if shapes != [(len(images), head.in_features)]:
        raise ModelError(
            f"model: its last linear layer must get one vector [{head.in_features}] for each example to be a head, "
            f"got {' and '.join(str(list(shape)) for shape in shapes) or 'nothing'} for {len(images)} examples"
        )
    return seen[0]

"""Checks a model's parameters, input shape, output and gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from workers.campaign.model_spec import SmallDataViT, ViT
from workers.errors import ModelError
from workers.models.memory import LiveBytes
from workers.models.operations import counted_pass
from workers.user_code.boundary import user_code

_BATCH = 2
_LARGER_BATCH = 7


def image_shape(name: str, input_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """(C, H, W) of the input. Raises ModelError where it is no image, or one under smallest x smallest pixels."""
    if len(input_shape) != 3:
        raise ModelError(f"model {name}: needs images [C, H, W], got inputs of shape {list(input_shape)}")
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise ModelError(
            f"model {name}: needs images of at least {smallest} x {smallest} pixels, got {width} x {height}"
        )
    return channels, height, width


def check_patches(spec: ViT | SmallDataViT, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(C, side) of square images for a vision transformer.

    Raises ModelError where inputs are not square images, the patch does not divide them, or heads do not divide width.
    """
    channels, height, width = image_shape(spec.name, input_shape, smallest=1)
    if height != width or height % spec.patch_size:
        raise ModelError(
            "model.patch_size: must divide the side of square images, "
            f"got {spec.patch_size} for {width} x {height} pixels"
        )
    if spec.width % spec.heads:
        raise ModelError(f"model.width: must be a multiple of heads ({spec.heads}), got {spec.width}")
    return channels, height


def check_weights(model: nn.Module, name: str) -> None:
    """Check that a new model has something to train, on the CPU, and starts with finite numbers.

    Raises ModelError, which `name` opens.
    """
    parameters = dict(model.named_parameters())
    for key, each in chain(parameters.items(), model.named_buffers()):
        if nn.parameter.is_lazy(each):
            raise ModelError(
                f"{name}: {key} has no size before the first batch (a lazy layer): give the layer its sizes"
            )
        if each.device.type != "cpu":
            raise ModelError(f"{name}: must return a model on the CPU, got {key} on {each.device}")
        if (each.is_floating_point() or each.is_complex()) and each.isnan().any():
            raise ModelError(f"{name}: {key} has NaN in it before any training")
    for key, parameter in parameters.items():
        if not parameter.isfinite().all():
            raise ModelError(f"{name}: {key} has infinity in it before any training")
    if not any(parameter.requires_grad for parameter in parameters.values()):
        what = f"all {len(parameters)} are frozen (requires_grad is False)" if parameters else "it has none"
        raise ModelError(f"{name}: has no parameter to train: {what}")


def check_output(model: nn.Module, input_shape: tuple[int, ...], num_classes: int, name: str = "model") -> int:
    """Check that the model maps a batch of inputs to finite floating-point logits [B, num_classes].

    Returns the floating-point operations of one example's forward pass, in matrix products and convolutions.
    Tried on two random inputs in evaluation mode; weights, buffers, modes and random generators stay as they are.
    Raises ModelError, which `name` opens; what the model raises passes through.
    """
    inputs = _inputs(input_shape)
    with unchanged(model), user_code(name):
        model.eval()
        inputs_copy = inputs.clone()
        try:
            with torch.no_grad():
                output, operations = counted_pass(model, inputs_copy)
        except RuntimeError as error:
            others = sorted(
                {str(parameter.dtype) for parameter in model.parameters() if parameter.dtype != torch.float32}
            )
            if others and "dtype" in str(error):
                raise ModelError(f"{name}: must take float32 inputs, its weights are {', '.join(others)}") from error
            raise
    if not isinstance(output, torch.Tensor):
        raise ModelError(f"{name}: must return a tensor [B, {num_classes}] of logits, got {type(output).__name__}")
    if tuple(output.shape) != (_BATCH, num_classes) or not output.is_floating_point():
        raise ModelError(
            f"{name}: must return floating-point logits [{_BATCH}, {num_classes}] for {_BATCH} inputs of shape "
            f"{list(input_shape)}, got {output.dtype} {list(output.shape)}"
        )
    if output.device.type != "cpu":
        raise ModelError(f"{name}: must return logits on its inputs' device, cpu, got {output.device}")
    if not torch.equal(inputs_copy, inputs):
        raise ModelError(f"{name}: changes its inputs in place, which are the data: compute a new tensor (x = x - 1)")
    if not output.isfinite().all():
        raise ModelError(f"{name}: returns logits that are not finite (NaN or infinity) before any training")
    with unchanged(model), user_code(name), torch.no_grad():
        model.eval()
        larger = model(_inputs(input_shape, _LARGER_BATCH))
    if larger.shape[:1] != (_LARGER_BATCH,):
        raise ModelError(
            f"{name}: must return logits of every input of a batch, got {list(larger.shape)} for {_LARGER_BATCH} inputs"
        )
    return operations // _BATCH


def check_gradients(model: nn.Module, input_shape: tuple[int, ...], num_classes: int, name: str) -> int:
    """Check that the loss depends on the parameters that are to be trained, and that its gradients are finite.

    Returns the bytes that the forward pass of one example holds at most.

    In evaluation mode, on two random inputs; the model stays as it is. Raises ModelError, which `name` opens.
    """
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    labels = torch.arange(_BATCH) % num_classes
    with unchanged(model), user_code(name), torch.enable_grad():
        model.eval()
        live = LiveBytes(model)
        with live:
            logits = model(_inputs(input_shape))
        if not logits.requires_grad or not torch.is_grad_enabled():
            raise ModelError(
                f"{name}: its logits do not depend on its parameters: no gradient passes (detach, no_grad, numpy)"
            )
        loss = nn.functional.cross_entropy(logits.float(), labels)
        computed = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    gradients = {key: each for key, each in zip(trained, computed, strict=True) if each is not None}
    for key, gradient in gradients.items():
        if not gradient.isfinite().all():
            raise ModelError(f"{name}: the gradient of {key} is not finite (NaN or infinity) before any training")
    if not any(gradient.any() for gradient in gradients.values()):
        raise ModelError(f"{name}: all its gradients are zero before any training, so that nothing would be learned")
    return max(live.held) // _BATCH


def model_notes(model: nn.Module, name: str) -> list[str]:
    """What may not be meant, a line each: parts that are frozen, and parts in evaluation mode, which training ends."""
    parameters = dict(model.named_parameters())
    frozen = [key for key, parameter in parameters.items() if not parameter.requires_grad]
    evaluating = [key or "the model itself" for key, module in model.named_modules() if not module.training]
    notes = []
    if frozen:
        notes.append(f"{name}: {len(frozen)} of {len(parameters)} parameters are frozen, {frozen[0]} first")
    if evaluating:
        notes.append(
            f"{name}: {evaluating[0]} is in evaluation mode, and will train in training mode like all parts "
            "(override its train method where it is not to)"
        )
    return notes


def _inputs(input_shape: tuple[int, ...], count: int = _BATCH) -> torch.Tensor:
    return torch.rand((count, *input_shape), generator=torch.Generator().manual_seed(0))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restore each module's mode, the buffers' values and torch's random generator."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)

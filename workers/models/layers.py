"""The layers of a model as localization counts them: groups of tensors, in the order of the forward pass."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with the norm behind it, a stage of a ResNet, or a block of a transformer."""

    name: str
    tensors: tuple[str, ...]
    """Names of its parameters and buffers in the model's `state_dict`. Each tensor of a model is in one layer."""
    output: str
    """The submodule whose output has the layer's units: channels (axis 1) of images, the last axis of anything else."""

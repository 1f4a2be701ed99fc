"""A small convolutional network."""

from torch import nn

from workers.campaign.model_spec import SmallCNN
from workers.models.checking import image_shape

SMALLEST = 4
"""Two poolings leave one pixel."""


def build_small_cnn(spec: SmallCNN, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Two 3 x 3 convolutions (width, 2 width), each with ReLU and 2 x 2 pooling; a hidden layer; a linear layer.

    Raises ModelError where inputs are not images of at least 4 x 4 pixels.
    """
    channels, height, width = image_shape(spec.name, input_shape, SMALLEST)
    return nn.Sequential(
        nn.Conv2d(channels, spec.width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(spec.width, 2 * spec.width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * spec.width * (height // 4) * (width // 4), spec.hidden),
        nn.ReLU(),
        nn.Linear(spec.hidden, num_classes),
    )

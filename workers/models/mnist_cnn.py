"""The convolutional network of PyTorch's MNIST example."""

from torch import nn

from workers.campaign.model_spec import MNISTCNN
from workers.models.checking import image_shape

SMALLEST = 16
"""Two 5 x 5 convolutions, each with a pooling, leave one pixel."""


def build_mnist_cnn(spec: MNISTCNN, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Two 5 x 5 convolutions (10, 20), each with 2 x 2 pooling and ReLU; 50 hidden units; a linear layer.

    M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, trained
    it on MNIST. Raises ModelError where inputs are not images of at least 16 x 16 pixels.
    """
    channels, height, width = image_shape(spec.name, input_shape, SMALLEST)
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    return nn.Sequential(
        nn.Conv2d(channels, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5),
        nn.Dropout2d(spec.dropout),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20 * rows * columns, 50),
        nn.ReLU(),
        nn.Dropout(spec.dropout),
        nn.Linear(50, num_classes),
    )

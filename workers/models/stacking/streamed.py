"""`StreamedModels`: K models as K programs, each in a CUDA stream of its own, which one CUDA graph captures."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from workers.models.stacking.model import StackedModel


class StreamedModels:
    """K models that share nothing but their calls: each computes what a stack of itself alone computes.

    For models whose own kernels do not fill a GPU, and whose grouped convolutions are slower than plain ones. Off a GPU
    the models are computed one after the other. The interface is that of `StackedModel`; `weights` are those of all
    models, model after model. Raises NotStackableError.
    """

    def __init__(self, models: Sequence[nn.Module], compute: torch.dtype, device: torch.device) -> None:
        self.compute = compute
        self.models = [StackedModel([model], compute, device) for model in models]
        self.weights = [weight for model in self.models for weight in model.weights]
        self.graphs = [graph for model in self.models for graph in model.graphs]
        self.trained, self.input_dtype = self.models[0].trained, self.models[0].input_dtype
        stream: Any = torch.cuda.Stream  # PyTorch gives it no types
        self._streams = [stream(device) for _ in models] if device.type == "cuda" else []

    def compile_training(self) -> None:
        """See `StackedModel.compile_training`."""
        for model in self.models:
            model.compile_training()

    def weights_of(self, k: int) -> dict[str, torch.Tensor]:
        """See `StackedModel.weights_of`."""
        return self.models[k].weights_of(0)

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """See `StackedModel.load`."""
        for k, model in enumerate(self.models):
            model.load({name: value[k : k + 1] for name, value in values.items()})

    def train(self, training: bool) -> None:
        """See `StackedModel.train`."""
        for model in self.models:
            model.train(training)

    def draw_from(self, generators: Sequence[torch.Generator]) -> None:
        """See `StackedModel.draw_from`."""
        for model, generator in zip(self.models, generators, strict=True):
            model.draw_from([generator])

    def show_examples(self, examples: torch.Tensor) -> None:
        """See `StackedModel.show_examples`."""
        for model, own in zip(self.models, examples, strict=True):
            model.show_examples(own)

    @property
    def draws(self) -> bool:
        """See `StackedModel.draws`."""
        return self.models[0].draws

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See `StackedModel.__call__`. Backward passes run in the streams of their forward passes."""
        parts = images.chunk(len(self.models))
        if not self._streams:
            return torch.cat([model(part) for model, part in zip(self.models, parts, strict=True)])
        current = torch.cuda.current_stream(images.device)
        logits = []
        for model, part, stream in zip(self.models, parts, self._streams, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                logits.append(model(part))
        for stream in self._streams:
            current.wait_stream(stream)
        return torch.cat(logits)

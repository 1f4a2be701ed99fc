"""Captures a training step as a CUDA graph, so that small models are not bound by kernel launches."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
Step = Callable[..., Tensors]

_WARM_UP = 3
"""Steps taken plainly before a capture, as CUDA graphs need: they make the optimiser's state and the libraries'
workspaces."""

_KEPT = 2
"""Graphs: of a full minibatch and of an epoch's last one. They hold memory; those of other sizes are captured anew."""


def with_cuda_graph(step: Step, device: torch.device, generators: Sequence[torch.Generator] = ()) -> Step:
    """`step`, captured once per shape of its arguments and replayed from then on; off a GPU `step` itself.

    A step takes and returns tensors, and does everything else by changing tensors in place, without waiting for the
    device. `generators` are those that it draws from. What it returns is overwritten by the next call.
    """
    return _GraphedStep(step, generators) if device.type == "cuda" else step


class _GraphedStep:
    """Counts the calls of each shape: plain ones first, then the capture, then replays.

    The tensors that a step changes stay where they are, so that a graph serves all stacks that are trained in them.
    """

    def __init__(self, step: Step, generators: Sequence[torch.Generator]) -> None:
        self.step = step
        self.generators = generators
        self.calls: dict[Any, int] = {}
        self.captured: dict[Any, tuple[torch.cuda.CUDAGraph, Tensors, Tensors]] = {}
        self.side_stream: torch.cuda.Stream | None = None

    def __call__(self, *arguments: torch.Tensor) -> Tensors:
        shapes = tuple(argument.shape for argument in arguments)
        if shapes not in self.captured:
            self.calls[shapes] = self.calls.get(shapes, 0) + 1
            if self.calls[shapes] <= _WARM_UP:
                return self._plain(arguments)
            while len(self.captured) >= _KEPT:
                del self.captured[next(iter(self.captured))]
            self.captured[shapes] = self._capture(arguments)
        self.captured[shapes] = self.captured.pop(shapes)  # the last one used comes last
        graph, inputs, result = self.captured[shapes]
        for held, argument in zip(inputs, arguments, strict=True):
            held.copy_(argument)
        graph.replay()
        return result

    def _plain(self, arguments: Tensors) -> Tensors:
        """On a side stream, as a capture will be."""
        self.side_stream = self.side_stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side_stream):
            result = self.step(*arguments)
        torch.cuda.current_stream().wait_stream(self.side_stream)
        return result

    def _capture(self, arguments: Tensors) -> tuple[torch.cuda.CUDAGraph, Tensors, Tensors]:
        inputs = tuple(argument.clone() for argument in arguments)
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        # Of this thread alone: those that read images ahead go on reserving pinned memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self.step(*inputs)
        return graph, inputs, result

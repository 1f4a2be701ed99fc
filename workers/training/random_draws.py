"""Directs the random draws of one thread to a generator of its own, in place of torch's global one.

Modules draw their initial weights from the global generator, which belongs to whatever else the process does. The
kernels are the same, so that a generator with the same seed gives the same bits.
"""

from typing import Any

import torch

from workers.models.operator_mode import OperatorMode

_aten = torch.ops.aten
_WITH_GENERATOR = {
    _aten.rand.default: _aten.rand.generator,
    _aten.randn.default: _aten.randn.generator,
    _aten.randperm.default: _aten.randperm.generator,
    _aten.randint.default: _aten.randint.generator,
    _aten.randint.low: _aten.randint.low_generator,
}
"""Of operations that have a form of their own for a given generator."""


class DrawsFrom(OperatorMode):
    """A context in which this thread's draws on the CPU come from `generator`.

    Raises NotImplementedError at an operation that draws and takes no generator.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in operation.tags and kwargs.get("generator") is None:
            operation = _WITH_GENERATOR.get(operation, operation)
            if not any(argument.name == "generator" for argument in operation._schema.arguments):
                raise NotImplementedError(f"{operation} takes no generator")
            kwargs = {**kwargs, "generator": self.generator}
        return operation(*args, **kwargs)

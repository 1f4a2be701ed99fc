"""Counts the floating-point operations of a forward pass, in matrix products and convolutions."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from workers.models.operator_mode import OperatorMode


def counted_pass(model: nn.Module, inputs: torch.Tensor) -> tuple[Any, int]:
    """The model's output, and the operations that it took by the formulas of torch's FlopCounterMode.

    FlopCounterMode itself imports the compiler, torch._dynamo, at the first operator: two seconds at every start. So it
    counts only what uses the compiler anyway, such as torch.cond; the model is called once more for that.
    """
    with _OperationCounter() as counter:
        output = model(inputs)
    if not counter.higher_order:
        return output, counter.operations
    with FlopCounterMode(display=False) as whole:
        output = model(inputs)
    return output, int(whole.get_total_flops())


class _OperationCounter(OperatorMode):
    """Adds up the operations of plain operators; `higher_order` where there was one that takes functions."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.higher_order = False
        self._formulas = FlopCounterMode(display=False).flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(func, torch._ops.HigherOrderOperator):
            self.higher_order = True
        elif (formula := self._formulas.get(func.overloadpacket)) is not None:
            self.operations += int(formula(*args, **(kwargs or {}), out_val=output))
        return output

"""How the models of a stack compute together: kept in a store's header, since it can change a result's last bit."""

from typing import Literal

from workers.campaign.field_types import Frozen

StackKind = Literal["grouped", "streams"]


class StackProgram(Frozen):
    """The program of a stack.

    `grouped`: one program with batched weights; `streams`: a program for each model, each in a CUDA stream of its own.
    """

    kind: StackKind = "grouped"
    compiled: bool = False
    """Whether the forward and backward pass of training is compiled by torch.compile."""

    def __str__(self) -> str:
        """The program as messages name it."""
        return f"{self.kind}, compiled" if self.compiled else self.kind


GROUPED = StackProgram()
"""What every device can compute, and what CPUs do."""

"""Base class of the modes that intercept PyTorch's operators."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A TorchDispatchMode whose use does not import PyTorch's compiler, torch._dynamo: one to two seconds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, which PyTorch documents: the compiler is not told to skip the mode, for which it would be imported."""
        return False

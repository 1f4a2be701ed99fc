"""Records the operations of a training step on the CPU once, and replays them.

Going through modules, autograd and its bookkeeping takes a quarter of a millisecond of every step, a fifth for MNIST's
MLP. ReplayedStep are the same kernels with the same arguments in the same order, so that no bit changes.
"""

import operator
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import fx
from torch.utils._pytree import tree_leaves, tree_map

from workers.models.operator_mode import OperatorMode

StepResult = TypeVar("StepResult")
"""Tuples of tensors and of None, nested or not."""

CALLS_BEFORE_RECORDING = 20
"""Calls with arguments of a shape before one is recorded, which takes as long as replaying so many saves."""

_PROGRAMS: dict[str, fx.GraphModule] = {}
"""By their source: the stacks of a campaign share one, and torch.fx never forgets a source."""

_FACTORIES = {torch.ops.aten.ones_like.default, torch.ops.aten.new_empty.default}
"""Operations for the root of the gradients, which lead to nothing (`optimizers.py`)."""

_NOT_RECORDABLE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view}
"""Operations that return a number, or a shape, by their arguments' values; and that change how a tensor lies."""


class ReplayedStep(Generic[StepResult]):
    """`function`, recorded once for each argument shape that recurs, and replayed from then on.

    It takes tensors, returns tuples of tensors and of None, nested or not, and does everything else by changing tensors
    in place. What it does depends on its arguments' shapes and layouts, not on their values; other tensors, such as
    weights, stay where they are in memory. What it returns cannot be differentiated.
    """

    def __init__(self, function: Callable[..., StepResult]) -> None:
        self.function = function
        self.calls: dict[Any, int] = {}
        self.recordings: dict[Any, Callable[..., StepResult] | None] = {}

    def __call__(self, *arguments: torch.Tensor) -> StepResult:
        shapes = tuple((argument.shape, argument.stride()) for argument in arguments)
        recording = self.recordings.get(shapes)
        if recording is not None:
            with torch.no_grad():
                return recording(*arguments)
        calls = self.calls[shapes] = self.calls.get(shapes, 0) + 1
        if calls != CALLS_BEFORE_RECORDING + 1:
            return self.function(*arguments)
        result, self.recordings[shapes] = record(self.function, arguments)
        return result


def record(
    function: Callable[..., StepResult], arguments: tuple[torch.Tensor, ...]
) -> tuple[StepResult, Callable[..., StepResult] | None]:
    """The result of `function` for `arguments`, and its operations as a function of arguments of the same shapes.

    None in place of the latter where numbers or shapes depended on values, since others might lead elsewhere; and where
    a tensor was laid out anew in place.
    """
    recorder = _Recorder(arguments)
    with recorder:
        result = function(*arguments)
    return result, recorder.recording(result)


class _Recorder(OperatorMode):
    """Writes down every operation that reaches a kernel, those of autograd among them.

    A tensor is known by its place in memory and how it lies there: autograd makes new objects for the tensors that it
    kept, and a view of a view may be what was there before. What lies where no operation put it is a constant, and so
    are its views, which are made once.
    """

    def __init__(self, arguments: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.known: dict[Any, fx.Node] = {}
        self.constants: dict[fx.Node, Any] = {}
        self.held: list[torch.Tensor] = []  # as long as all are there, no two are in one place
        self.not_recordable = False
        for index, argument in enumerate(arguments):
            self._put(argument, self.graph.placeholder(f"argument_{index}"))

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute the operation, and record it unless it is a view of an existing tensor."""
        nodes, named = tree_map(self._node, (args, kwargs or {}))
        result = operation(*args, **(kwargs or {}))
        tensors = tree_leaves(result)
        if _is_not_recordable(operation, args):
            self.not_recordable = True
        elif operation.is_view and all(leaf in self.constants for leaf in tree_leaves(nodes) if _is_node(leaf)):
            for each in tensors:
                self._node(each)
        elif not operation.is_view or any(_place(tensor) not in self.known for tensor in tensors):
            self._put(result, self.graph.call_function(operation, nodes, named))
        return result

    def recording(self, result: StepResult) -> Callable[..., StepResult] | None:
        """The recorded operations, as a function of the arguments that returns values structured as `result`."""
        if self.not_recordable:
            return None
        self.graph.output(tree_map(self._node, result))
        for node in reversed(self.graph.nodes):
            if not node.users and node.op == "call_function" and _is_unnecessary(node.target):
                self.graph.erase_node(node)
        source = self.graph.python_code("self").src
        if source not in _PROGRAMS:
            _PROGRAMS[source] = fx.GraphModule({}, self.graph)
        forward, constants = _PROGRAMS[source].forward, tuple(self.constants.values())
        return lambda *arguments: forward(*arguments, *constants)

    def _node(self, value: Any) -> Any:
        """What stands for a value in the graph: tensors and generators are nodes, everything else is itself."""
        if not isinstance(value, torch.Tensor | torch.Generator):
            return value
        key = _place(value) if isinstance(value, torch.Tensor) else value
        if key not in self.known:
            node = self.graph.placeholder(f"constant_{len(self.constants)}")
            self.known[key] = node
            self.constants[node] = value.detach() if isinstance(value, torch.Tensor) else value
        return self.known[key]

    def _put(self, result: Any, node: fx.Node) -> None:
        """Know what a node gives: a tensor, several, or nothing."""
        if isinstance(result, torch.Tensor):
            self.held.append(result)
            self.known.setdefault(_place(result), node)
        elif result is not None:
            for index, each in enumerate(result):
                self._put(each, self.graph.call_function(operator.getitem, (node, index)))


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _is_not_recordable(operation: Any, args: Any) -> bool:
    if operation is torch.ops.aten.index.Tensor:  # by integers the shapes tell
        return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return not _NOT_RECORDABLE.isdisjoint(operation.tags)


def _is_unnecessary(operation: Any) -> bool:
    """Whether an operation does nothing but return what nobody uses: a view, or a new tensor of constants."""
    return getattr(operation, "is_view", False) or operation in _FACTORIES


def _is_node(value: Any) -> bool:
    return isinstance(value, fx.Node)

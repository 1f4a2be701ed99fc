"""`StackedModel`: traces a model with torch.fx and replaces every layer that has weights by its stacked form."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from workers.models.stacking.compiled import Forward, compiled_forward
from workers.models.stacking.layers import STACKED_FORMS, Stacked, StackedConv, StackedDropout, StackedLinear
from workers.models.stage_dropout import StageModule, example_tied, show_examples
from workers.models.weight_roles import Role, weight_roles
from workers.user_code.boundary import describe_error, user_code


class NotStackableError(Exception):
    """Why a model has no stacked form. Not a mistake: such models are trained one at a time."""


@dataclass(frozen=True)
class Weight:
    """A trainable float32 tensor, and what the program computes with: itself, or a copy in half precision."""

    master: torch.Tensor
    working: nn.Parameter
    name: str = ""
    """The parameter's name in the model."""
    role: Role = "other"
    stacked: bool = True
    """Whether `master` has the models as its first axis."""

    @property
    def is_copied(self) -> bool:
        """Whether the program computes with a copy."""
        return self.working.dtype != self.master.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one model's parameter."""
        return tuple(self.master.shape[1:] if self.stacked else self.master.shape)


class StackedModel:
    """K models of one architecture as one program of weights [K, ...].

    `models` differ in their values only; they are left alone. `compute` is the dtype of matrix products and
    convolutions; the last of them stays in float32, because ties of rounded logits would all go to the lowest class.
    Raises NotStackableError.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        compute: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
    ) -> None:
        self.count = len(models)
        self.compute = compute
        plain, roles = models[0], weight_roles(models[0])
        # A single layer is traced as a layer, not through its own code.
        wrapped = type(models[0]) in STACKED_FORMS
        models = [nn.Sequential(model) if wrapped else model for model in models]
        _check_parameters(models[0])
        with _mode(models[0], training=True):
            training = _trace(models[0])
        with _mode(models[0], training=False):
            evaluating = _trace(models[0])
        parts: dict[str, Any] = {}
        for graph in (training, evaluating):
            parts |= _stacked_parts(models, graph, known=parts)
        self.training_graph = fx.GraphModule(parts, training)
        self.evaluating_graph = fx.GraphModule(parts, evaluating)
        self._forward_in_training: Forward = self.training_graph
        self.layers = nn.ModuleList({id(part): part for part in parts.values() if isinstance(part, nn.Module)}.values())
        self._example_tied = example_tied(self.layers)
        self.training_graph.to(device)
        self.evaluating_graph.to(device)
        if device.type == "cpu" or self.count == 1:
            _lay_out_channels_last(self.layers)
        named = {"" if wrapped else f"{name}.": part for name, part in parts.items()}
        self._named = {prefix: part for prefix, part in named.items() if isinstance(part, nn.Module)}
        self._masters = _half_precision_copies(_product_layers(training, parts), compute)
        prefixes = {part: prefix for prefix, part in reversed(self._named.items())}
        self.weights = [
            Weight(self._master(layer, name), parameter, own, roles[plain.get_parameter(own)])
            for layer in self.layers
            for name, parameter in layer.named_parameters()
            if parameter.requires_grad and (own := prefixes[layer] + name)
        ]
        """Everything that is trained."""
        self.trained = tuple(name for name, parameter in plain.named_parameters() if parameter.requires_grad)
        """Names of the parameters that are trained, in the model's own order."""
        first = _first_layer(training, parts)
        self.input_dtype = first.weight.dtype if isinstance(first, StackedLinear | StackedConv) else torch.float32
        """What the first layer turns its inputs into; inputs may come in it."""

    @property
    def graphs(self) -> list[fx.GraphModule]:
        """Modules that hold all parameters and buffers."""
        return [self.training_graph, self.evaluating_graph]

    def compile_training(self) -> None:
        """Compute the training pass by what torch.compile makes of it; see `compiled_forward`."""
        self._forward_in_training = compiled_forward(self.training_graph)

    def weights_of(self, k: int) -> dict[str, torch.Tensor]:
        """The float32 parameters and the buffers of model k by the model's own names: views of the stack's."""
        return {
            prefix + name: self._master(part, name)[k]
            for prefix, part in self._named.items()
            for name in part.state_dict()
        }

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take values [K, ...] by the model's own names, in place: what was recorded or captured goes on with them.

        As `StackedModel` made of models with these values, in all that training changes.
        """
        with torch.no_grad():
            for prefix, part in self._named.items():
                if not isinstance(part, Stacked):
                    continue
                for name in part.state_dict():
                    master = self._master(part, name)
                    master.copy_(values[prefix + name], non_blocking=True)
                    if name == "weight" and part in self._masters:
                        part.get_parameter(name).copy_(master)

    def _master(self, layer: nn.Module, name: str) -> torch.Tensor:
        """A parameter or buffer [K, ...] of a stacked layer, in float32 where the program computes with a copy."""
        value: torch.Tensor = getattr(layer, name)
        return self._masters.get(layer, value.detach()) if name == "weight" else value.detach()

    def train(self, training: bool) -> None:
        """Batch statistics and dropout of training, or of evaluation."""
        self.layers.train(training)

    def draw_from(self, generators: Sequence[torch.Generator]) -> None:
        """Where each model's dropout masks come from: K generators on the model's device."""
        for module in self.layers:
            if isinstance(module, StackedDropout):
                module.generators = generators

    def show_examples(self, examples: torch.Tensor) -> None:
        """Say which training examples the next call is of: int64[K, B], for example-tied dropout."""
        show_examples(self._example_tied, examples.reshape(-1))

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers in the forward pass."""
        return any(isinstance(module, StackedDropout) for module in self.layers)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Folded inputs [K*B, ...], float32 or `input_dtype`, to logits [K*B, num_classes]; in the mode of `train`."""
        forward = self.evaluating_graph if not self.layers.training else self._forward_in_training
        logits: torch.Tensor = forward(images)
        return logits


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, former in modes:
            module.training = former


def _check_parameters(model: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names and not _same_module(model, name, names[id(parameter)]):
            raise NotStackableError(f"{name} and {names[id(parameter)]} are one parameter")
        names[id(parameter)] = name
        if parameter.dtype != torch.float32:
            raise NotStackableError(f"{name} is {parameter.dtype}, only float32 is stacked")


def _same_module(model: nn.Module, first: str, second: str) -> bool:
    """Whether two names lead to one module, which then is stacked once and used twice."""
    owners = [model.get_submodule(name.rpartition(".")[0]) for name in (first, second)]
    return owners[0] is owners[1]


class _Tracer(fx.Tracer):
    """Takes stage dropout, which has a stacked form, for a layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, StageModule) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.Graph:
    try:
        with user_code("model"):
            graph = _Tracer().trace(model)
    except Exception as error:  # whatever a user's forward raises on fx's proxies is the reason
        raise NotStackableError(f"torch.fx cannot trace it: {describe_error(error)}") from error
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise NotStackableError("its forward takes more than one argument")
    return graph


def _stacked_parts(models: Sequence[nn.Module], graph: fx.Graph, known: dict[str, Any]) -> dict[str, Any]:
    """What the graph's nodes name: stacked layers, layers without state, constants."""
    parts = dict(known)
    made = {id(models[0].get_submodule(name)): part for name, part in known.items() if isinstance(part, nn.Module)}
    for node in graph.nodes:
        name = str(node.target)
        if node.op == "call_module" and name not in parts:
            layer = models[0].get_submodule(name)
            if id(layer) not in made:
                made[id(layer)] = _stacked_layer(name, [model.get_submodule(name) for model in models])
            parts[name] = made[id(layer)]
        elif node.op == "get_attr":
            parts[name] = _constant(name, models)
    return parts


def _stacked_layer(name: str, layers: Sequence[nn.Module]) -> nn.Module:
    first: Any = layers[0]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(first, hook) for hook in hooks):
        raise NotStackableError(f"{name} has hooks")
    if isinstance(first, nn.modules.batchnorm._BatchNorm) and first.momentum is None:
        raise NotStackableError(f"{name} has no momentum")
    if isinstance(first, nn.modules.conv._ConvNd) and first.padding_mode != "zeros":
        raise NotStackableError(f"{name} pads with {first.padding_mode}")
    form = STACKED_FORMS.get(type(first))
    if form is not None:
        return form(layers)
    if isinstance(first, StageModule):  # the same for all models: examples follow one another as a stack's inputs do
        return copy.deepcopy(first)
    if any(True for _ in first.parameters()) or any(True for _ in first.buffers()):
        raise NotStackableError(f"{name} is {type(first).__name__}, which has weights and no stacked form")
    if "Dropout" in type(first).__name__ or isinstance(first, nn.RReLU):
        raise NotStackableError(f"{name} is {type(first).__name__}, which draws random numbers and has no stacked form")
    copied: nn.Module = copy.deepcopy(first)
    return copied


def _constant(name: str, models: Sequence[nn.Module]) -> Any:
    """A tensor that all models share; weights used outside of a standard layer have no stacked form."""
    try:
        values = [_attribute(model, name) for model in models]
    except AttributeError as error:  # tracing kept a value of this one call, such as a random draw
        raise NotStackableError("forward makes a tensor of its own, which may differ from call to call") from error
    if isinstance(values[0], nn.Parameter):
        raise NotStackableError(f"{name} is a parameter that is used outside of a standard layer")
    if not all(torch.equal(value, values[0]) for value in values):
        raise NotStackableError(f"{name} is a buffer that differs between models")
    return values[0]


def _attribute(model: nn.Module, name: str) -> Any:
    owner, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(owner), attribute)


def _lay_out_channels_last(layers: nn.ModuleList) -> None:
    for layer in layers:
        if isinstance(layer, StackedConv):
            layer.lay_out_channels_last()


def _half_precision_copies(layers: Sequence[Any], compute: torch.dtype) -> dict[nn.Module, torch.Tensor]:
    """Make the layers compute with copies of their weights in `compute`, if that is another dtype; float32 by layer."""
    masters: dict[nn.Module, torch.Tensor] = {}
    if compute != torch.float32:
        for layer in layers:
            masters[layer] = layer.weight.detach()
            layer.weight = nn.Parameter(masters[layer].to(compute), requires_grad=layer.weight.requires_grad)
    return masters


def _product_layers(graph: fx.Graph, parts: dict[str, Any]) -> list[Any]:
    """The linear and convolution layers that compute in half precision: all but the last one."""
    called = [parts[str(node.target)] for node in graph.nodes if node.op == "call_module"]
    products = [part for part in called if isinstance(part, StackedLinear | StackedConv)]
    return [part for part in dict.fromkeys(products) if part is not products[-1]]


def _first_layer(graph: fx.Graph, parts: dict[str, Any]) -> Any:
    """The layer that takes the inputs, flattened at most; None where anything else does."""
    (node,) = (node for node in graph.nodes if node.op == "placeholder")
    while len(node.users) == 1:
        (node,) = node.users
        part = parts.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(part, nn.Flatten | nn.Identity):
            return part
    return None

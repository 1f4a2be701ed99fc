"""Options of commands made from the fields of `RunOptions`, so that each is declared once."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, cast, get_args, get_type_hints

import typer

from orchestrator.runners.run_options import ClusterOptions, option_flag, option_info


def option_of(kind: type[ClusterOptions], name: str) -> Any:
    """The option of a command for a field: its flag, meaning and limits."""
    info, hint = option_info(kind, name), get_type_hints(kind)[name]
    if info.none is not None:
        default = f"{kind.__dataclass_fields__[name].default:g}"
        parse = _number_or(info.none)
        return typer.Option(option_flag(name), help=info.help, metavar="MINUTES", parser=parse, show_default=default)
    if {int, float} & set(get_args(hint)):
        return typer.Option(option_flag(name), help=info.help, min=info.least, max=info.most)
    return typer.Option(option_flag(name), help=info.help)


def with_options(
    kind: type[ClusterOptions], without: tuple[str, ...] = (), **fixed: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a command with a parameter `options`, an object of `kind`: one option for each of its fields.

    `fixed` are fields that the command decides; `without` those that keep their defaults.
    """
    names = [each.name for each in _own_first(kind) if each.name not in {*without, *fixed}]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def call(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in names}
            command(**arguments, options=kind(**values, **fixed))

        hints, annotated = get_type_hints(kind), cast("Any", Annotated)
        own = inspect.signature(command)
        parameters: list[inspect.Parameter] = []
        for parameter in own.parameters.values():
            if parameter.name != "options":
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            for name in names:
                annotation = annotated[hints[name], option_of(kind, name)]
                default = kind.__dataclass_fields__[name].default
                parameters.append(
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                )
        call.__name__, call.__doc__, call.__module__ = command.__name__, command.__doc__, command.__module__
        call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # what typer reads
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def _own_first(kind: type[ClusterOptions]) -> list[Any]:
    """The fields of the class itself, then those that it inherits."""
    own = [field for field in fields(kind) if field.name in kind.__annotations__]
    return own + [field for field in fields(kind) if field not in own]


def _number_or(none: str) -> Callable[[Any], float | None]:
    """A parser of a number or the word for None; the limits are checked by the object."""

    def parse(text: Any) -> float | None:
        if text == none:
            return None
        try:
            return float(text)
        except ValueError:
            raise typer.BadParameter(f"must be a number or {none}, got {text!r}") from None

    return parse

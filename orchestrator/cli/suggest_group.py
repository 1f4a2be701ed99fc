"""Typer group that suggests commands, options and choices for misspelt ones."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.cli.terminal import escape_controls
from workers.campaign.suggest import closest
from workers.user_code.boundary import wrap_user_errors

# typer has exported it under no name of its own, and brings click with it in some versions only.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

_CHOICE = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<allowed>'.*')\.", re.DOTALL)


class SuggestingGroup(TyperGroup):
    """A group of commands that asks whoever mistyped one of them, or what follows it: did you mean ...?"""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, its name and the rest of the words. Ends with a usage error where there is none of that name."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}.{_question(name, self.commands)}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words after the options of the group itself."""
        with _suggestions():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of a command, and call it."""
        with _suggestions(), wrap_user_errors():
            return super().invoke(ctx)


@contextmanager
def _suggestions() -> Iterator[None]:
    """Suggest the intended name in usage errors; control characters of file names are shown."""
    try:
        yield
    except _UsageError as error:
        error.message = escape_controls(error.message)
        if hasattr(error, "possibilities") and error.ctx is not None:
            options = [name for each in error.ctx.command.get_params(error.ctx) for name in each.opts]
            error.message = f"No such option: {error.option_name}.{_question(error.option_name, options)}"
            error.possibilities = None
        elif choice := _CHOICE.fullmatch(error.message):
            allowed = re.findall("'([^']*)'", choice["allowed"])
            error.message = (
                f"must be one of {', '.join(allowed)}, got {choice['given']!r}.{_question(choice['given'], allowed)}"
            )
        raise


def _question(word: str, allowed: Any) -> str:
    close = closest(word, allowed)
    return f" Did you mean {close!r}?" if close else ""

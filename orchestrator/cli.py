"""The `longtail` command: parses, calls, prints.

Exit codes: 0 all done; 1 something failed or is damaged; 2 a mistake in the command or campaign file; 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, NoReturn

import typer

from orchestrator.commands.campaigns import demo, init, run
from orchestrator.commands.datamodels import datamodels
from orchestrator.commands.density import density
from orchestrator.commands.estimates import compare, estimate, reliability
from orchestrator.commands.forgetting import forgetting
from orchestrator.commands.imports import imports
from orchestrator.commands.influence import influence
from orchestrator.commands.jobs import submit
from orchestrator.commands.noise import noise, suspects
from orchestrator.commands.plans import plan
from orchestrator.commands.profiles import profiles
from orchestrator.commands.proxies import proxies
from orchestrator.commands.removal import removal
from orchestrator.commands.report import report
from orchestrator.commands.stores import compact, status, verify
from orchestrator.commands.tune import tune
from orchestrator.output import errors, interruption, say, warn
from orchestrator.suggesting import SuggestingGroup
from orchestrator.terminal import print_errors_on
from workers.errors import CampaignError, LongtailError, ModelError

_EXIT_CODES = (
    "Exit codes: 0 all done; 1 something failed or is damaged; 2 a mistake in the command or the campaign file; "
    "130 interrupted (Ctrl-C, SIGTERM): the same command resumes."
)

app = typer.Typer(
    name="longtail",
    help="Memorization, influence and consistency of every example of a data set, from models trained on subsets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=SuggestingGroup,
    epilog=_EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"longtail {version('longtail')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start": (demo, init),
    "Train": (tune, plan, run, submit, status),
    "Estimate": (estimate, report, influence, datamodels, profiles, forgetting, removal),
    "Judge estimates": (reliability, compare),
    "Find noisy labels and cheap scores": (suspects, noise, proxies, density),
    "Look after stores": (verify, compact),
}
"""The panels of `longtail --help`, and their commands, in the order in which they are used."""

for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(imports, name="import", rich_help_panel="Look after stores")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    interruption.set()
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `longtail` command."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGTERM is as clean an end as Ctrl-C
        signal.signal(number, _interrupt)
    print_errors_on(errors)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the campaign's own package.module:function
    try:
        app()
    except LongtailError as error:
        for line in str(error).split("\n"):
            warn(f"error: {line}")
        sys.exit(2 if isinstance(error, CampaignError | ModelError) else 1)
    except KeyboardInterrupt:
        warn("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone; keep Python from writing to it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception:
        print_errors_on(errors)  # typer has put a hook of its own in its place
        raise


if __name__ == "__main__":
    main()

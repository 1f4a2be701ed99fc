"""The `longtail` command.

Exit codes: 0 all done; 1 something failed or is damaged; 2 a mistake in the command or campaign file; 130 interrupted.
"""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, NoReturn

import typer

from orchestrator.cli.commands.audit import audit
from orchestrator.cli.commands.campaigns import demo, init, run
from orchestrator.cli.commands.compare import compare
from orchestrator.cli.commands.datamodels import datamodels
from orchestrator.cli.commands.density import density
from orchestrator.cli.commands.estimates import estimate, reliability
from orchestrator.cli.commands.example_estimates import cscore, memorization
from orchestrator.cli.commands.forgetting import forgetting
from orchestrator.cli.commands.group_influence import group_influence
from orchestrator.cli.commands.imports import imports
from orchestrator.cli.commands.influence import influence
from orchestrator.cli.commands.jobs import submit
from orchestrator.cli.commands.lds import lds
from orchestrator.cli.commands.league import league
from orchestrator.cli.commands.localize import localize
from orchestrator.cli.commands.noise import noise, suspects
from orchestrator.cli.commands.partitions import partitions
from orchestrator.cli.commands.plans import plan
from orchestrator.cli.commands.profiles import profiles
from orchestrator.cli.commands.proxies import proxies
from orchestrator.cli.commands.removal import removal
from orchestrator.cli.commands.replays import features, replay
from orchestrator.cli.commands.report import report
from orchestrator.cli.commands.stores import compact, status, verify
from orchestrator.cli.commands.tune import tune
from orchestrator.cli.commands.variance import variance
from orchestrator.cli.exit_codes import INTERRUPTED, exit_code_of
from orchestrator.cli.output import errors, interruption, say, warn_lost_output
from orchestrator.cli.output_streams import guard_streams
from orchestrator.cli.process_exit import exit_process
from orchestrator.cli.suggest_group import SuggestingGroup
from orchestrator.cli.terminal import print_errors_on

_MAX_SIGNALS = 2
"""From the third Ctrl-C or SIGTERM on, the process ends at once."""
_signals = 0

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


def _version(requested: bool) -> None:
    if requested:
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
    "Estimate": (
        estimate,
        report,
        memorization,
        cscore,
        influence,
        group_influence,
        datamodels,
        lds,
        variance,
        profiles,
        forgetting,
        partitions,
        localize,
        removal,
        audit,
    ),
    "Assess estimates": (reliability, compare),
    "Find noisy labels and cheap scores": (suspects, noise, proxies, league, density),
    "Maintain stores": (verify, compact, replay, features),
}
"""The panels of `longtail --help`, and their commands, in the order in which they are used."""

for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(imports, name="import", rich_help_panel="Maintain stores")


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Handler of SIGINT and SIGTERM."""
    global _signals
    _signals += 1
    if _signals > _MAX_SIGNALS:  # the campaign's own code catches KeyboardInterrupt, and goes on
        os._exit(INTERRUPTED)
    interruption.set()
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `longtail` command."""
    faulthandler.enable()  # a crash in native code tells where the campaign's own code was
    # What Ray says of lost nodes and workers would stand among our lines, which say it as well. Ray reads
    # this when it is imported; its workers' own output is not shown in any case.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGTERM is as clean an end as Ctrl-C
        signal.signal(number, interrupt)
    guard_streams()
    print_errors_on(errors)
    # The campaign's own package.module:function; last, so that a user's analysis.py hides no package of Longtail's.
    sys.path.append(os.getcwd())  # noqa: PTH109
    code = exit_code_of(app)
    warn_lost_output()
    exit_process(code)


if __name__ == "__main__":
    main()

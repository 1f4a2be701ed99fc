"""Command that writes the HTML report: report."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import StoreArgument, TrustCodeOption
from orchestrator.cli.output import errors, interruption, say, warn
from workers.errors import CampaignError, CommandError


def report(
    store: StoreArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Path of the report: .html.")] = Path(
        "report.html"
    ),
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Ratio of memorization and influence; default: the one with the most runs."),
    ] = None,
    trust_code: TrustCodeOption = False,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Second store of the same examples, shown beside the first.")
    ] = None,
) -> None:
    """Write the findings of a store, or two stores side by side, as one HTML file with images that needs no network.

    Example: longtail report STORE -o report.html
    """
    from analysis.reading.parallel import Threads
    from orchestrator.cli.progress import BLOCKS, reading_display
    from orchestrator.report import write_comparison, write_report
    from workers.store import Store

    check_output(output)

    def report_stage(line: str) -> None:
        warn(line)
        if interruption.is_set():
            raise KeyboardInterrupt

    opened = Store.open(store)
    second = None if other is None else Store.open(other)
    with reading_display(errors, opened) as show:
        parallel = Threads(on_progress=partial(show, BLOCKS))
        write = partial(write_report, opened) if second is None else partial(write_comparison, (opened, second))
        written = write(output, ratio=ratio, progress=report_stage, trust_code=trust_code, parallel=parallel)
    for reason in dict.fromkeys(written.missing.values()):
        parts = ", ".join(part for part, why in written.missing.items() if why == reason)
        warn(f"note: no {parts}: {reason}")
    say(f"report: {written.path} ({written.size / 1e6:.1f} MB)")


def check_output(path: Path) -> None:
    """Raise CampaignError or LongtailError where no report can be written to the path, before anything is computed."""
    if path.suffix != ".html":
        raise CampaignError(f"--output: must end with .html, got {str(path)!r}")
    if not path.parent.is_dir():
        raise CommandError(f"{path}: cannot be written: there is no folder {path.parent}")

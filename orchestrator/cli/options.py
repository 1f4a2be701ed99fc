"""Arguments and options of the command line."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.option_objects import option_of
from orchestrator.runners.run_options import Device, RunOptions
from workers.errors import CampaignError

CampaignPath = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="Campaign file (YAML).")]
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="Folder or URI of a store.")]
StoreOption = Annotated[str, typer.Option("--store", "-s", metavar="STORE", help="Folder or URI; created if missing.")]
AddressOption = Annotated[str | None, option_of(RunOptions, "address")]
SCORES_HELP = (
    "Store, .npz file with arrays labels and scores (or tr_labels and tr_mem), "
    "or FILE:COLUMN of a table with a column label"
)
EstimateOption = Annotated[
    Literal["memorization", "cscore", "forgetting"] | None,
    typer.Option("--estimate", help="Estimate to compare; default: memorization; required with a file."),
]
DeviceOption = Annotated[Device | None, option_of(RunOptions, "device")]
DownloadOption = Annotated[bool, option_of(RunOptions, "download")]
RepetitionsOption = Annotated[int | None, option_of(RunOptions, "repetitions")]
TrustCodeOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Call the functions that the store's campaign names (a custom data set or model), and download its data. "
        "Only for stores that you made.",
    ),
]
TargetSeOption = Annotated[
    float | None,
    typer.Option(
        "--target-se", min=0.0001, max=1, help="Standard error of memorization for which to compute the number of runs."
    ),
]

EpochOption = Annotated[
    int | None, typer.Option("--epoch", min=1, help="A recorded epoch; default: the last one of each run.")
]
TopOption = Annotated[
    int, typer.Option("--top", min=1, max=10_000, help="Number of examples shown; the output file has all.")
]
ConfidenceOption = Annotated[float, typer.Option("--confidence", help="Confidence level of the intervals.")]

_MAX_IDS = 10_000_000


def check_confidence_option(confidence: float) -> None:
    """Raise BadParameter for a level that is not between 0 and 1, before anything is read."""
    if not 0 < confidence < 1:
        raise typer.BadParameter(f"--confidence must be between 0 and 1, got {confidence}")


def parse_ids(text: str, option: str) -> list[int]:
    """Ids from text such as 0-99,105 (ends of a range included). Raises CampaignError, which names the option."""
    ids: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first or len(ids) + last - first >= _MAX_IDS:
            raise CampaignError(f"--{option}: must be ids and ranges such as 0-99,105, got {part!r}")
        ids += range(first, last + 1)
    return ids

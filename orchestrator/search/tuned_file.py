"""The campaign file that a recipe search writes: the campaign with the recipe found, and on top where it came from."""

from importlib.metadata import version
from pathlib import Path

from orchestrator.search.choice import Choice, differing
from orchestrator.search.record import FinishedTrial
from orchestrator.search.session import SearchReport
from workers.campaign import Campaign
from workers.campaign_file import dump_campaign
from workers.errors import CampaignError, LongtailError

_MARK = "# Found by longtail tune"


def check_tuned_path(path: Path, force: bool) -> None:
    """Find out before anything is trained that the file cannot be written. One that a search wrote is replaced.

    Raises CampaignError where another file is there and `force` is not given, LongtailError where there is no folder.
    """
    if not path.parent.is_dir():
        raise LongtailError(f"{path}: cannot be written: there is no folder {path.parent}")
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = file.read(len(_MARK)) == _MARK
    except FileNotFoundError:
        return
    except OSError as error:
        raise LongtailError(f"{path}: cannot be read: {error.strerror}") from error
    if not (ours or force):
        raise CampaignError(f"{path}: exists already, and is no search's; --force replaces it")


def write_tuned(path: Path, report: SearchReport, campaign: Campaign, choice: Choice, command: str) -> None:
    """Write the campaign found, whole or not at all. Raises LongtailError."""
    names = ("longtail", "torch", "ray")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    chosen, number, ended = choice.chosen, choice.chosen.candidate.number, report.progress.ended
    lines = [
        f"{_MARK}, {versions}.",
        f"# {' '.join(command.split())}",
        f"# Trial {number} of {ended} ({report.progress.fitted} fitted): {differing(chosen.candidate)}.",
        f"# In the search: {figures(chosen.trial)}.",
        *[f"# {line}." for line in fresh_lines(report)],
    ]
    unfinished = path.with_name(f"_{path.name}")
    try:
        unfinished.write_text("\n".join([*lines, dump_campaign(campaign)]), encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LongtailError(f"{path}: cannot be written: {error.strerror or error}") from error


def fresh_lines(report: SearchReport) -> list[str]:
    """The recipe chosen and the one given, on subsets that no trial has seen."""
    lines = []
    if report.choice:
        lines.append(f"On fresh subsets: {figures(report.fresh[report.choice.chosen.candidate.number])}")
    if report.given:
        lines.append(f"The recipe given, on the same ones: {figures(report.given)}")
    return lines


def figures(trial: FinishedTrial) -> str:
    """How a trial ended, in words."""
    last = trial.last
    accuracies = f"subset accuracy {last.subset_accuracy:.4f}, held-out {last.heldout_accuracy:.4f}"
    if trial.ended == "diverged":
        return f"diverged in epoch {last.epoch}"
    cost = f"{last.operations:.3g} operations, {trial.seconds:.3g} s a run"
    return f"{last.epoch} epochs, {accuracies} +- {last.heldout_se:.4f}, {cost}"

"""The page: a store's findings and the images of its data set, put into the template and written whole."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.report import Findings, find
from analysis.report import figures as draw
from analysis.report.findings import FDR, TOP
from orchestrator.report.explorer import explorer_of
from orchestrator.report.galleries import Galleries
from orchestrator.report.pictures import load_pictures
from orchestrator.report.words import accuracies, described, precision
from workers.errors import LongtailError
from workers.store import Store

Progress = Callable[[str], None]

_LOOKS = {
    "presentations": "whenever training shows them, before the update",
    "evaluations": "evaluated after the epoch, trained on",
    "heldout": "evaluated after the epoch, held out",
}


@dataclass(frozen=True)
class Report:
    """A written report: its size in bytes, and the parts that the store does not allow, with reasons."""

    path: Path
    size: int
    missing: dict[str, str]


def write_report(
    store: Store, path: Path, *, ratio: float | None = None, progress: Progress = lambda line: None
) -> Report:
    """Write the report of a store as one HTML file; a file that is there is replaced when the new one is whole.

    `ratio` is that of memorization and influence (None: see `analysis.report.findings`). Raises EstimateError as
    `analysis.report.find`, DamagedFileError, and LongtailError where the file cannot be written.
    """
    found = find(store, ratio, progress)
    progress("images")
    pictures, no_images = load_pictures(store, progress)
    if no_images:
        found.missing["images"] = no_images
    progress("figures and page")
    page = _environment().get_template("report.html.j2").render(**_context(found, Galleries(found, pictures), pictures))
    content = page.encode()
    unfinished = path.with_name(f"_{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LongtailError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Report(path, len(content), dict(found.missing))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("orchestrator.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # made by analysis.report.svg from escaped text
    environment.globals["shades"] = draw.shades
    return environment


def _context(found: Findings, galleries: Galleries, pictures: Any) -> dict[str, Any]:
    store = found.store
    return {
        "title": store.header.dataset,
        "store": store.uri,
        "described": described(store),
        "accuracies": accuracies(store),
        "failures": store.failures(),
        "precision": precision(found),
        "missing": found.missing,
        "found": found,
        "fdr": f"{FDR:.0%}",
        "top": TOP,
        "pictures": _pictures(found),
        "learning": _learning(found),
        "memorized": galleries.memorized(),
        "regular": galleries.regular(),
        "influence": galleries.influence(),
        "suspects": galleries.suspects(),
        "explorer": explorer_of(found, pictures),
        "image": pictures,
        "scripted": (Path(__file__).parent / "page" / "explorer.js").read_text(encoding="utf-8"),
        "styled": (Path(__file__).parent / "page" / "report.css").read_text(encoding="utf-8"),
    }


def _pictures(found: Findings) -> dict[str, draw.Picture]:
    pictures = _distributions(found)
    if found.profiles is not None:
        labels = ("subset size over data set size", "right when held out")
        told = "Mean over the examples of each group; the bars reach one standard error over examples to each side."
        pictures["profiles"] = draw.lines("profiles", found.profiles, "ratio", "consistency", labels, told)
    if found.forgetting is not None:
        ratio, runs = float(found.forgetting["ratio"].iloc[0]), int(found.forgetting["n_runs"].max())
        told = f"Counted at {found.forgetting_at}, in up to {runs:,} runs at ratio {ratio:g}."
        pictures["forgetting"] = draw.forgetting("forgetting", found.forgetting, told)
    if found.removal is not None:
        told = "Mean over runs; the bars reach one standard error to each side."
        pictures["removal"] = draw.removal("removal", found.removal, told)
    return pictures


def _distributions(found: Findings) -> dict[str, draw.Picture]:
    pictures: dict[str, draw.Picture] = {}
    if found.mem is not None:
        mem, runs = found.mem["mem"].to_numpy(), int((found.mem["n_in"] + found.mem["n_out"]).max())
        told = (
            f"{draw.MEM_BINS} bins of equal width; {np.isfinite(mem).sum():,} examples with a value, "
            f"from {runs:,} runs at ratio {found.ratio:g}."
        )
        pictures["mem"] = draw.histogram("mem", mem, draw.MEM_BINS, -1, "memorization", told)
    if found.cscore is not None:
        cscore, held_out = found.cscore["cscore"].to_numpy(), found.cscore["n_out"].mean()
        told = (
            f"{draw.CSCORE_BINS} bins of equal width; on average {held_out:.1f} runs that held an example out, "
            f"at {_number_of_ratios(found)}."
        )
        pictures["cscore"] = draw.histogram("cscore", cscore, draw.CSCORE_BINS, 0, "C-score", told)
    if found.mem is not None and found.cscore is not None:
        told = "A dot's area rises with the logarithm of the number of examples."
        pictures["against"] = draw.against("against", mem, cscore, told)
    return pictures


def _number_of_ratios(found: Findings) -> str:
    return "1 ratio" if len(found.ratios) == 1 else f"{len(found.ratios)} ratios"


def _learning(found: Findings) -> list[draw.Picture]:
    if found.learning is None:
        return []
    shown = []
    for kind, rows in found.learning.groupby("at", sort=False):
        ratio, runs = float(rows["ratio"].iloc[0]), int(rows["runs"].max())
        caption = (
            f"Examples {_LOOKS[str(kind)]}: {runs:,} runs at ratio {ratio:g}, bars of one standard error over runs."
        )
        shown.append(draw.lines(f"learning-{kind}", rows, "epoch", "correctness", ("epoch", "right"), caption))
    return shown

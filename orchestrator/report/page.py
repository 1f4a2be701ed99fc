"""Renders the report: findings and images put into the template and written whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.reading.parallel import ParallelMap
from analysis.report import Findings, find
from analysis.report import figures as draw
from analysis.report.findings import FDR, TOP
from analysis.statistics.bins import CSCORE_BINS, MEM_BINS
from orchestrator.report.explorer import explorer_of
from orchestrator.report.galleries import Galleries
from orchestrator.report.localization import introduction, localization
from orchestrator.report.pictures import load_pictures
from orchestrator.report.words import accuracies, described, headline, number, precision
from workers.campaign.plural import count_text, range_text
from workers.common.progress import StageCallback
from workers.common.whole_file import check_place, replace_file
from workers.store import Store

_CURVE_KINDS = {
    "presentations": ("in training", "whenever training shows them, before the update"),
    "evaluations": ("trained on", "evaluated after the epoch by runs that trained on them"),
    "heldout": ("held out", "evaluated after the epoch by runs that held them out"),
}


@dataclass(frozen=True)
class Report:
    """A written report: its size in bytes, and the parts that the store does not allow, with reasons."""

    path: Path
    size: int
    missing: dict[str, str]


def write_report(
    store: Store,
    path: Path,
    *,
    ratio: float | None = None,
    progress: StageCallback = lambda line: None,
    trust_code: bool = False,
    parallel: ParallelMap | None = None,
) -> Report:
    """Write the report of a store as one HTML file; a file that is there is replaced when the new one is whole.

    `ratio` is that of memorization and influence (None: see `analysis.report.findings`), `parallel` where blocks of
    pairs are computed (None: on all cores).
    Images come from the cache or from files that are here; with `trust_code`, as for a run, also from a function that
    the store's campaign names or from a download. Raises EstimateError as
    `analysis.report.find`, DamagedFileError, and as `check_place` where the file cannot be written.
    """
    check_place(path)  # before minutes of estimating, not after them
    found = find(store, ratio, progress, parallel)
    progress("images")
    pictures, no_images = load_pictures(store, progress, trust_code=trust_code)
    if no_images:
        found.missing["images"] = no_images
    progress("figures and page")
    page = _environment().get_template("report.html.j2").render(**_context(found, Galleries(found, pictures), pictures))
    content = page.encode()
    replace_file(path, lambda unfinished: unfinished.write_bytes(content))
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
        "headline": headline(found),
        "missing": found.missing,
        "found": found,
        "fdr": f"{FDR:.0%}",
        "top": TOP,
        "pictures": _pictures(found),
        "learning": _learning(found),
        "memorized": galleries.memorized(),
        "probed": None if found.probed is None else introduction(found.probed),
        "probes": [] if found.probed is None else localization(found.probed),
        "dropped": galleries.dropped(),
        "regular": galleries.regular(),
        "influence": galleries.influence(),
        "suspects": galleries.suspects(),
        "explorer": explorer_of(found, pictures),
        "image": pictures,
        "scripted": "".join(_read(name) for name in ("data.js", "detail.js", "explorer.js")),
        "styled": _read("report.css"),
    }


def _read(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _pictures(found: Findings) -> dict[str, draw.Picture]:
    pictures = _distributions(found)
    if found.profiles is not None:
        labels = ("ratio: share of the examples trained on", "right when held out")
        told = (
            "Examples grouped by C-score: how often runs that held them out get them right, the more data they train "
            f"on. {_at_each_ratio(found)}; means over each group's examples, bars of one standard error over "
            f"{found.profiles['over'].iloc[0]}."
        )
        pictures["profiles"] = draw.lines("profiles", found.profiles, "ratio", "consistency", labels, told)
    if found.forgetting is not None:
        ratio, runs = float(found.forgetting["ratio"].iloc[0]), int(found.forgetting["n_runs"].max())
        median, most = found.forgetting["forgetting_se"].quantile((0.5, 0.9))
        told = (
            "Examples by how often a run forgets them once learned, mean over runs, on a logarithmic axis. "
            f"Counted at {found.forgetting_at}, in up to {count_text(runs, 'run')} at ratio {ratio:g}; an example's "
            f"mean has a standard error of {number(median)} in the median, {number(most)} at the 90th percentile."
        )
        pictures["forgetting"] = draw.forgetting("forgetting", found.forgetting, told)
    if found.removal is not None:
        behind = found.removal["runs"]
        told = (
            "Test accuracy without the examples that each rule removes: means over "
            f"{range_text(int(behind.min()), int(behind.max()), 'run')}, bars of one standard error over runs."
        )
        pictures["removal"] = draw.removal("removal", found.removal, told)
    return pictures


def _distributions(found: Findings) -> dict[str, draw.Picture]:
    pictures: dict[str, draw.Picture] = {}
    if found.mem is not None:
        mem, runs = found.mem["mem"].to_numpy(), int((found.mem["n_in"] + found.mem["n_out"]).max())
        told = (
            "Examples by memorization, on a logarithmic axis: "
            f"{count_text(int(np.isfinite(mem).sum()), 'example')} with a value, from {count_text(runs, 'run')} at "
            f"ratio {found.ratio:g}. {_width(found.mem)} {MEM_BINS} bins of equal width."
        )
        pictures["mem"] = draw.histogram("mem", mem, MEM_BINS, -1, "memorization", told)
    if found.cscore is not None:
        cscore, held_out = found.cscore["cscore"].to_numpy(), found.cscore["n_out"].mean()
        told = (
            f"Examples by C-score, on a logarithmic axis: on average {held_out:.1f} runs that held an example out, at "
            f"{_number_of_ratios(found)}. {_width(found.cscore)} {CSCORE_BINS} bins of equal width."
        )
        pictures["cscore"] = draw.histogram("cscore", cscore, CSCORE_BINS, 0, "C-score", told)
    if found.mem is not None and found.cscore is not None:
        told = (
            "Examples by both scores: a dot for each small range, its area rising with the logarithm of the number of "
            "examples there. Each score has the runs and the intervals of its own figure."
        )
        pictures["against"] = draw.against("against", mem, cscore, told)
    return pictures


def _width(frame: pd.DataFrame) -> str:
    """How sure a score is."""
    width = (frame["high"] - frame["low"])[frame["se"].notna()].median()
    return f"An example's 95% interval is {number(width)} wide in the median."


def _at_each_ratio(found: Findings) -> str:
    if found.held_out is None:
        return ""
    means = found.held_out.mean(axis=1)
    low, high = f"{means.min():.1f}", f"{means.max():.1f}"
    return f"{low if low == high else f'{low} to {high}'} runs at each ratio held an example out on average"


def _number_of_ratios(found: Findings) -> str:
    return count_text(len(found.ratios), "ratio")


def _learning(found: Findings) -> list[tuple[str, draw.Picture]]:
    """(title, figure) pairs."""
    if found.learning is None:
        return []
    shown, of = [], "" if found.learning_by == "cscore" else " of all examples"
    for kind, rows in found.learning.groupby("at", sort=False):
        ratio, runs = float(rows["ratio"].iloc[0]), int(rows["runs"].max())
        title, looked = _CURVE_KINDS[str(kind)]
        caption = (
            f"Examples {looked}: the share right in {count_text(runs, 'run')} at ratio {ratio:g}, means and bars of "
            "one standard error over runs."
        )
        figure = draw.lines(f"learning-{kind}", rows, "epoch", "correctness", ("epoch", "right"), caption)
        shown.append((f"Learning curve{of}, {title}", figure))
    return shown

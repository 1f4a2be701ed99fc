"""Renders the report: findings and images in the template, written atomically."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.reading.parallel import ParallelMap
from analysis.report import Findings, find
from analysis.report import figures as draw
from orchestrator.report.campaign_text import accuracies, describe_campaign, final_runs, precision
from orchestrator.report.captioned_figures import learning_figures, report_figures
from orchestrator.report.classes import class_rows, confusion_matrix
from orchestrator.report.explorer import explorer_of
from orchestrator.report.first_findings import first_findings
from orchestrator.report.galleries import SUSPECTS, Galleries
from orchestrator.report.inputs import Inputs, load_inputs
from orchestrator.report.localization import introduction, localization
from orchestrator.report.page_files import scripts, styles
from orchestrator.report.provenance import provenance
from orchestrator.report.section_text import chosen_classes_text, influence_text, ratio_text
from orchestrator.report.verdict import IRREGULAR, MEMORIZED
from orchestrator.report.verdict import verdict as verdict_of
from workers.common.progress import StageCallback
from workers.common.whole_file import check_place, replace_file
from workers.store import Store


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
    findings = find(store, ratio, progress, parallel)
    progress("images")
    inputs = load_inputs(store, progress, trust_code=trust_code)
    if inputs.missing:
        findings.missing["images"] = inputs.missing
    progress("figures and page")
    page = (
        environment()
        .get_template("report.html.j2")
        .render(**_context(findings, inputs), provenance=provenance(store, path, ratio, trust_code=trust_code))
    )
    content = page.encode()
    replace_file(path, lambda unfinished: unfinished.write_bytes(content))
    return Report(path, len(content), dict(findings.missing))


def environment() -> Environment:
    """Templates of pages, which escape all text."""
    made = Environment(
        loader=PackageLoader("orchestrator.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["svg"] = Markup  # made by analysis.report.svg from escaped text
    made.globals["shades"] = draw.shades
    return made


def _context(findings: Findings, inputs: Inputs) -> dict[str, Any]:
    store, runs, galleries = findings.store, final_runs(findings.store), Galleries(findings, inputs.pictures)
    verdict = verdict_of(findings, runs)
    return {
        "verdict": verdict,
        "first": first_findings(findings, verdict, inputs.pictures),
        "ratio_text": ratio_text(findings),
        "described": describe_campaign(store),
        "accuracies": accuracies(store, runs),
        "failures": store.failures(),
        "precision": precision(findings),
        "missing": findings.missing,
        "found": findings,
        "pictures": report_figures(findings),
        "learning": learning_figures(findings),
        **_classes(findings),
        "memorized": galleries.memorized(),
        "probed": None if findings.probed is None else introduction(findings.probed),
        "probes": [] if findings.probed is None else localization(findings.probed),
        "dropped": galleries.dropped(),
        "regular": galleries.regular(),
        "influence": galleries.influence(),
        "influence_text": influence_text(findings),
        "suspects": galleries.suspects(),
        "vulnerable": galleries.vulnerable(),
        "explorer": explorer_of(findings, inputs),
        "image": inputs.pictures,
        "scripted": scripts(),
        "styled": styles(),
    }


def _classes(findings: Findings) -> dict[str, Any]:
    return {
        "class_rows": class_rows(findings),
        "confusion": confusion_matrix(findings),
        "memorized_above": MEMORIZED,
        "irregular_under": IRREGULAR,
        "suspects_shown": SUSPECTS,
        "most_memorized_classes": chosen_classes_text(findings, "highest mean memorization"),
        "least_regular_classes": chosen_classes_text(findings, "lowest mean C-score"),
    }

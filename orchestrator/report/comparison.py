"""Renders two stores of the same examples side by side: where they agree, and an explorer that has both."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.examples import read_labels
from analysis.reading.parallel import ParallelMap
from analysis.report import Findings, find
from analysis.scoring.matching import Matched, match_examples
from analysis.scoring.scores import Scores, known_fingerprint
from orchestrator.report.campaign_text import describe_campaign, number
from orchestrator.report.compared_scores import compared_scores
from orchestrator.report.explorer import explorer_of
from orchestrator.report.explorer_scores import ExplorerScores
from orchestrator.report.inputs import Inputs, load_inputs
from orchestrator.report.page import Report, environment
from orchestrator.report.page_files import scripts, styles
from workers.common.progress import StageCallback
from workers.common.whole_file import check_place, replace_file
from workers.errors import EstimateError
from workers.store import Store


def write_comparison(
    stores: tuple[Store, Store],
    path: Path,
    *,
    ratio: float | None = None,
    progress: StageCallback = lambda line: None,
    trust_code: bool = False,
    parallel: ParallelMap | None = None,
) -> Report:
    """Write two stores side by side as one HTML file; options as of `write_report`, each for both stores.

    Ids, labels, images, curves and neighbours are those of the first. Raises EstimateError where the stores are not of
    the same examples (`analysis.scoring.matching`), and as `write_report`.
    """
    check_place(path)
    matched = match_stores(*stores)
    ours, theirs = (find(store, ratio, progress, parallel) for store in stores)
    progress("images")
    inputs = load_inputs(stores[0], progress, trust_code=trust_code)
    if inputs.missing:
        ours.missing["images"] = inputs.missing
    page = environment().get_template("comparison.html.j2").render(**_context((ours, theirs), matched, inputs))
    content = page.encode()
    replace_file(path, lambda unfinished: unfinished.write_bytes(content))
    return Report(path, len(content), dict(ours.missing))


def match_stores(a: Store, b: Store) -> Matched:
    """The examples that two stores share. Raises EstimateError where they share none, or nothing tells which."""
    if a.uri == b.uri:
        raise EstimateError(f"A and B must be two stores, got {a.uri!r} twice")
    return match_examples(_labels_of(a), _labels_of(b))


def _labels_of(store: Store) -> Scores:
    labels = read_labels(store).label
    return Scores(store.uri, "", labels, np.zeros(len(labels)), known_fingerprint(store), store.names[0])


def _context(findings: tuple[Findings, Findings], matched: Matched, inputs: Inputs) -> dict[str, Any]:
    a, b = findings
    stores = a.store, b.store
    scores, counts = compared_scores(a, b, matched)
    return {
        "title": a.store.header.dataset,
        "stores": [store.uri for store in stores],
        "sentence": (
            "Scores of the same examples in two stores, and their differences, the largest first. Curves and "
            "neighbours of an example are A's."
        ),
        "described": [("Store", *(store.uri for store in stores)), *_differences(*stores)],
        "matched": matched.basis,
        "agreements": _agreements(scores),
        "explorer": explorer_of(a, inputs, (scores, counts)),
        "image": inputs.pictures,
        "scripted": scripts(),
        "styled": styles(),
    }


def _differences(a: Store, b: Store) -> list[tuple[str, str, str]]:
    """What the descriptions of the campaigns say otherwise."""
    ours, theirs = dict(describe_campaign(a)), dict(describe_campaign(b))
    terms = dict.fromkeys((*ours, *theirs))
    return [(term, ours.get(term, "–"), theirs.get(term, "–")) for term in terms if ours.get(term) != theirs.get(term)]


def _agreements(scores: ExplorerScores) -> list[dict[str, str]]:
    """A column for each score that both have: correlations and distances over the examples with a value in both."""
    columns = []
    for key in [key.removesuffix("_difference") for key in scores if key.endswith("_difference")]:
        x, y = pd.Series(scores[key].values), pd.Series(scores[f"{key}_b"].values)
        difference = scores[f"{key}_difference"]
        both = np.isfinite(difference.values)
        if not both.any() or difference.limits is None:
            continue
        low, high = difference.limits
        excluding = (low[both] > 0) | (high[both] < 0)
        columns.append(
            {
                "name": scores[key].text.removesuffix(", A"),
                "examples": f"{both.sum():,}",
                "spearman": number(x.corr(y, method="spearman")),
                "pearson": number(x.corr(y)),
                "distance": number(np.abs(difference.values[both]).mean()),
                "apart": f"{excluding.sum():,} ({excluding.mean():.1%})",
            }
        )
    return columns

"""First findings of a report: the most memorized examples, the labels most likely wrong, the strongest influences."""

from dataclasses import dataclass

import pandas as pd

from analysis.report import Findings
from orchestrator.report.pictures import Pictures
from orchestrator.report.tiles import Row, Tile, Tiles
from orchestrator.report.verdict import Verdict
from workers.campaign.plural import count_text

EXAMPLES, PAIRS = 12, 6


@dataclass(frozen=True)
class FirstRow:
    """A title, the section with the rest, a sentence, and tiles: each by itself, or a test and a training example."""

    title: str
    section: str
    sentence: str
    tiles: tuple[Tile, ...] = ()
    pairs: tuple[tuple[Tile, Tile], ...] = ()


def first_findings(findings: Findings, verdict: Verdict, pictures: Pictures | None) -> list[FirstRow]:
    """A row for each finding that the store allows; without its examples where intervals support none."""
    tiles = Tiles(findings, pictures)
    rows = (_memorized(findings, verdict, tiles), _suspects(findings, tiles), _influences(findings, tiles))
    return [row for row in rows if row is not None]


def _memorized(findings: Findings, verdict: Verdict, tiles: Tiles) -> FirstRow | None:
    if findings.mem is None:
        return None
    title, section = "Most memorized", "memorized"
    if not verdict.readable:
        return FirstRow(title, section, "Not listed: the models do not fit their subsets.")
    above = findings.mem[findings.mem["mem"].notna() & (findings.mem["low"] > 0)]
    if above.empty:
        return FirstRow(title, section, "No example's interval lies above 0.")
    most = above.sort_values(["low", "mem", "example_id"], ascending=[False, False, True]).head(EXAMPLES)
    sentence = (
        f"Memorization at ratio {findings.ratio:g} with its 95% interval and the runs with | without the example, "
    )
    sentence += "the highest lower limits first."
    shown = tuple(tiles.scored(row, "mem", labelled=True) for row in _rows(most))
    return FirstRow(title, section, sentence, shown)


def _suspects(findings: Findings, tiles: Tiles) -> FirstRow | None:
    if findings.suspects is None or findings.suspects_by is None:
        return None
    by = findings.suspects_by.replace("_", " ")
    sentence = f"Ranked by {by}, ± standard error over the runs behind it."
    if findings.predictions is not None:
        sentence += " Models: what most models predict that did not train on it."
    shown = tuple(tiles.suspect(row) for row in _rows(findings.suspects.head(EXAMPLES)))
    return FirstRow("Labels most likely wrong", "suspects", sentence, shown)


def _influences(findings: Findings, tiles: Tiles) -> FirstRow | None:
    influence = findings.influence
    if influence is None or influence.problem:
        return None
    title, helpful = "Strongest influences", influence.helpful
    if helpful is None:
        return FirstRow(title, "influence", "Pairs are not tested where runs share their subsets.")
    if helpful.empty:
        return FirstRow(title, "influence", "No pair is a discovery: any single influence may be chance.")
    pairs: list[Row] = []
    for row in _rows(helpful.head(50 * PAIRS)):
        if not any(row[name] == shown[name] for shown in pairs for name in ("test_example_id", "example_id")):
            pairs.append(row)
    shown_pairs = tuple(
        (
            tiles.affected(int(row["test_example_id"]), int(row["test_label"]), int(row["n_in"] + row["n_out"])),
            tiles.influential(row, True),
        )
        for row in pairs[:PAIRS]
    )
    sentence = (
        f"A test example, and a training example that raises the share of runs right on it: the strongest of "
        f"{count_text(len(helpful), 'discovery', 'discoveries')}."
    )
    return FirstRow(title, "influence", sentence, pairs=shown_pairs)


def _rows(frame: pd.DataFrame) -> list[Row]:
    return frame.to_dict("records")

"""Tiles of a report: an example's image with its id, its class, and a value with its interval."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from analysis.report import Findings
from analysis.scoring.example_scores import PRESENTED
from analysis.scoring.groups import class_name
from orchestrator.report.campaign_text import number
from orchestrator.report.pictures import Pictures
from workers.campaign.plural import count_text
from workers.common.splits import Split

Row = dict[Hashable, Any]

NOT_SIGNIFICANT = "not significant"
_WORDS = {"mem": "memorization", "cscore": "C-score", "vulnerability": "vulnerability"}


@dataclass(frozen=True)
class ClassLabel:
    """A class's name with the words before and after it: `predicted`, `9`, `in 93%`."""

    before: str
    name: str
    after: str = ""


@dataclass(frozen=True)
class Tile:
    """An example: its image (None: there is none), what the image is in words, its value and lines of small print.

    `caution` says what the value does not support.
    """

    split: Split
    example: int
    uri: str | None
    alt: str
    value: str
    lines: tuple[str, ...] = ()
    labels: tuple[ClassLabel, ...] = ()
    caution: str = ""


class Tiles:
    """Makes tiles of a store's findings."""

    def __init__(self, findings: Findings, pictures: Pictures | None) -> None:
        self._findings, self._pictures = findings, pictures

    def scored(self, row: Row, value: str, *, labelled: bool) -> Tile:
        """A row of mem, cscore or vulnerability (`value`); under the title of its class a label says nothing new."""
        word, interval = _WORDS[value], f"{number(row['low'])} to {number(row['high'])}"
        runs = count_text(row["n_out"], "run") if value == "cscore" else f"{row['n_in']} | {row['n_out']}"
        description = f"{word} {number(row[value])}, 95% interval {interval}, {_runs(row)}"
        tile = self._tile("train", row, number(row[value]), (interval, runs), description)
        return tile if labelled or len(tile.labels) > 1 else replace(tile, labels=())

    def suspect(self, row: Row) -> Tile:
        """A row of suspects, with the class that held-out models predict where that is recorded."""
        by = self._findings.suspects_by or ""
        se, value = row.get(f"{by}_se"), number(row[by])
        error = () if se is None or se != se else (f"± {number(se)}",)
        runs = count_text(self._suspect_runs(int(row["example_id"])), "run")
        description = " ".join((by.replace("_", " "), value, *error))
        tile = self._tile("train", row, value, (", ".join((*error, runs)),), f"{description}, {runs}")
        if row.get("predicted_label", -1) < 0:
            return tile
        name, share = class_name(self._findings.store, int(row["predicted_label"])), f"{row['predicted_share']:.0%}"
        held_out = f"held-out models predict {name} in {share} of {count_text(int(row['predicted_runs']), 'run')}"
        labels = (*tile.labels, ClassLabel("models:", name, f" ({share})"))
        return replace(tile, alt=f"{tile.alt}; {held_out}", labels=labels)

    def affected(self, test: int, label: int, runs: int) -> Tile:
        """A test example: the share of the runs that get it right."""
        shares = self._findings.test
        right = float("nan") if shares is None else shares["right"].iloc[test]
        share, row = f"{100 * right:.0f}%", Row({"example_id": test, "label": label, "given_label": label})
        text = f"of {count_text(runs, 'run')} right"
        return self._tile("test", row, share, (text,), f"predicted right by {share} of {count_text(runs, 'run')}")

    def influential(self, row: Row, significant: bool) -> Tile:
        """The training example of a pair."""
        interval = f"{number(row['low'])} to {number(row['high'])}"
        description = f"influence {number(row['infl'])}, 95% interval {interval}, {_runs(row)}"
        lines = (interval, f"{row['n_in']} | {row['n_out']}")
        tile = self._tile("train", row, number(row["infl"]), lines, description)
        return tile if significant else replace(tile, alt=f"{tile.alt}, {NOT_SIGNIFICANT}", caution=NOT_SIGNIFICANT)

    def dropped(self, row: Row) -> Tile:
        """A row of `lost_examples`."""
        value = f"{row['lost'] * row['runs']:.0f} of {count_text(int(row['runs']), 'run')}"
        return self._tile("train", row, value, (), f"lost by {value}")

    def _suspect_runs(self, example: int) -> int:
        """The runs behind an example's score: those that showed it, or that held it out."""
        findings = self._findings
        if findings.suspects_by in PRESENTED and findings.forgetting is not None:
            return int(findings.forgetting["n_runs"].iloc[example])
        return 0 if findings.cscore is None else int(findings.cscore["n_out"].iloc[example])

    def _tile(self, split: Split, row: Row, value: str, lines: tuple[str, ...], description: str) -> Tile:
        example, label, given_label = (int(row[name]) for name in ("example_id", "label", "given_label"))
        uri = None if self._pictures is None else self._pictures.uri(split, example)
        names = class_name(self._findings.store, given_label), class_name(self._findings.store, label)
        kind = "training" if split == "train" else "test"
        wrong = label != given_label
        alt = f"{kind} example {example}, labelled {names[0]}{f', really {names[1]}' if wrong else ''}: {description}"
        labels = (ClassLabel("labelled", names[0]), *((ClassLabel("is", names[1]),) if wrong else ()))
        return Tile(split, example, uri, alt, value, lines, labels)


def _runs(row: Row) -> str:
    if "n_in" not in row:
        return f"{count_text(row['n_out'], 'run')} without it"
    return f"{count_text(row['n_in'], 'run')} with it and {row['n_out']} without"

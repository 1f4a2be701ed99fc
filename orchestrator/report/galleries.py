"""Galleries of a report: one `Tile` per image."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report import Findings
from analysis.report.selections import ClassStrips, memorized_by_class, regular_by_class, strongest_pairs
from analysis.scoring.example_scores import PRESENTED
from analysis.scoring.groups import class_name
from orchestrator.report.campaign_text import number
from orchestrator.report.localization import lost_examples
from orchestrator.report.pictures import Pictures
from workers.campaign.plural import count_text
from workers.common.splits import Split

PER_STRIP = 6
TESTS, HELPERS = 12, 4
"""Test examples in the gallery of influence, and training examples beside each."""
SUSPECTS = 48
DROPPED = 24

Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Tile:
    """An example: its image (None: there is none), what the image is in words, its value and lines of small print."""

    split: Split
    example: int
    uri: str | None
    alt: str
    value: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """A class's strips of tiles, each with a title."""

    title: str
    note: str
    strips: tuple[tuple[str, tuple[Tile, ...]], ...]


@dataclass(frozen=True)
class Helped:
    """A test example and the training examples that influence it most."""

    test: Tile
    helpers: tuple[Tile, ...]


class Galleries:
    """Makes tiles of a store's findings."""

    def __init__(self, found: Findings, pictures: Pictures | None) -> None:
        self._found, self._pictures = found, pictures

    def memorized(self) -> list[Gallery]:
        """Per class the most memorized, middling and least memorized examples."""
        if self._found.mem is None:
            return []
        return [self._gallery(each, "mem") for each in memorized_by_class(self._found.mem, PER_STRIP)]

    def regular(self) -> list[Gallery]:
        """Per class the examples of lowest and highest C-score."""
        if self._found.cscore is None:
            return []
        return [self._gallery(each, "cscore") for each in regular_by_class(self._found.cscore, PER_STRIP)]

    def dropped(self) -> list[Tile]:
        """The examples that most runs lose when memorization units are dropped, of those not counted as memorized."""
        if self._found.probed is None:
            return []
        tiles = []
        for row in lost_examples(self._found.probed).head(DROPPED).to_dict("records"):
            value = f"{row['lost'] * row['runs']:.0f} of {count_text(int(row['runs']), 'run')}"
            tiles.append(self._tile("train", row, value, (), f"lost by {value}"))
        return tiles

    def influence(self) -> list[Helped]:
        """The test examples with the strongest pairs."""
        if self._found.pairs is None or self._found.test is None:
            return []
        return [self._helped(pairs) for pairs in strongest_pairs(self._found.pairs, TESTS, HELPERS)]

    def suspects(self) -> list[Tile]:
        """The most suspicious labels."""
        by = self._found.suspects_by
        if self._found.suspects is None or by is None:
            return []
        tiles = []
        for row in self._found.suspects.head(SUSPECTS).to_dict("records"):
            se = row.get(f"{by}_se")
            value = number(row[by]) + ("" if se is None or se != se else f" ± {number(se)}")
            runs = f"{count_text(self._suspect_runs(int(row['example_id'])), 'run')}"
            tiles.append(self._tile("train", row, value, (runs,), f"{by.replace('_', ' ')} {value}, {runs}"))
        return tiles

    def _suspect_runs(self, example: int) -> int:
        """The runs behind an example's score: those that showed it, or that held it out."""
        findings = self._found
        if findings.suspects_by in PRESENTED and findings.forgetting is not None:
            return int(findings.forgetting["n_runs"].iloc[example])
        return 0 if findings.cscore is None else int(findings.cscore["n_out"].iloc[example])

    def _gallery(self, each: ClassStrips, value: str) -> Gallery:
        word = "memorization" if value == "mem" else "C-score"
        strips = tuple(
            (strip.title, tuple(self._scored(row, value, word) for row in strip.rows.to_dict("records")))
            for strip in each.strips
        )
        return Gallery(class_name(self._found.store, each.label), f"{count_text(each.examples, 'example')}", strips)

    def _scored(self, row: Row, value: str, word: str) -> Tile:
        interval = f"{number(row['low'])} to {number(row['high'])}"
        runs = (
            f"{row['n_in']} | {count_text(row['n_out'], 'run')}"
            if value == "mem"
            else f"{count_text(row['n_out'], 'run')}"
        )
        description = f"{word} {number(row[value])}, 95% interval {interval}, {_runs(row)}"
        # Under the title of its class a label says nothing new.
        return self._tile("train", row, number(row[value]), (interval, runs), description, labelled=False)

    def _helped(self, pairs: pd.DataFrame) -> Helped:
        rows = pairs.to_dict("records")
        test, label = int(rows[0]["test_example_id"]), int(rows[0]["test_label"])
        right = self._found.test.iloc[test] if self._found.test is not None else {"right": float("nan")}
        runs = int(rows[0]["n_in"] + rows[0]["n_out"])
        share = f"{100 * right['right']:.0f}%"
        row: Row = {"example_id": test, "label": label, "given_label": label}
        tile = self._tile(
            "test",
            row,
            share,
            (f"of {count_text(runs, 'run')} right",),
            f"predicted right by {share} of {count_text(runs, 'run')}",
        )
        return Helped(tile, tuple(self._helper(row) for row in rows))

    def _helper(self, row: Row) -> Tile:
        interval = f"{number(row['low'])} to {number(row['high'])}"
        description = f"influence {number(row['infl'])}, 95% interval {interval}, {_runs(row)}"
        return self._tile(
            "train",
            row,
            number(row["infl"]),
            (interval, f"{row['n_in']} | {count_text(row['n_out'], 'run')}"),
            description,
        )

    def _tile(
        self, split: Split, row: Row, value: str, lines: tuple[str, ...], description: str, labelled: bool = True
    ) -> Tile:
        example, label, given_label = (int(row[name]) for name in ("example_id", "label", "given_label"))
        uri = None if self._pictures is None else self._pictures.uri(split, example)
        names = class_name(self._found.store, given_label), class_name(self._found.store, label)
        kind = "training" if split == "train" else "test"
        wrong = f", really {names[1]}" if label != given_label else ""
        alt = f"{kind} example {example}, labelled {names[0]}{wrong}: {description}"
        labels = (f"given {names[0]}, is {names[1]}",) if wrong else (f"label {names[0]}",) if labelled else ()
        return Tile(split, example, uri, alt, value, (*lines, *labels))


def _runs(row: Row) -> str:
    if "n_in" not in row:
        return f"{count_text(row['n_out'], 'run')} without it"
    return f"{count_text(row['n_in'], 'run')} with it and {row['n_out']} without"

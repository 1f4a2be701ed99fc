"""Galleries of a report: strips of tiles by class, both sides of influence, suspects."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report import Findings
from analysis.report.influence_findings import InfluenceSides
from analysis.report.selections import ClassStrips, memorized_by_class, regular_by_class
from analysis.scoring.groups import class_name
from orchestrator.report.localization import lost_examples
from orchestrator.report.pictures import Pictures
from orchestrator.report.tiles import Row, Tile, Tiles
from workers.campaign.plural import count_text

PER_STRIP = 6
SUSPECTS = 48
DROPPED = 24
VULNERABLE = 12


@dataclass(frozen=True)
class Gallery:
    """A class's strips of tiles, each with a title; none is empty."""

    name: str
    note: str
    strips: tuple[tuple[str, tuple[Tile, ...]], ...]


@dataclass(frozen=True)
class BothSides:
    """A test example between the training examples that help and those that harm its prediction."""

    test: Tile
    helpful: tuple[Tile, ...]
    harmful: tuple[Tile, ...]


class Galleries:
    """The galleries of a store's findings."""

    def __init__(self, findings: Findings, pictures: Pictures | None) -> None:
        self._findings, self._tiles = findings, Tiles(findings, pictures)

    def memorized(self) -> list[Gallery]:
        """Per class the most memorized, middling and least memorized examples."""
        if self._findings.mem is None:
            return []
        return [self._gallery(strips, "mem") for strips in memorized_by_class(self._findings.mem, PER_STRIP)]

    def regular(self) -> list[Gallery]:
        """Per class the examples of lowest and highest C-score."""
        if self._findings.cscore is None:
            return []
        return [self._gallery(strips, "cscore") for strips in regular_by_class(self._findings.cscore, PER_STRIP)]

    def dropped(self) -> list[Tile]:
        """The examples that most runs lose when memorization units are dropped, of those not counted as memorized."""
        if self._findings.probed is None:
            return []
        return [self._tiles.dropped(row) for row in _rows(lost_examples(self._findings.probed).head(DROPPED))]

    def influence(self) -> list[BothSides]:
        """The test examples with the strongest pairs."""
        influence = self._findings.influence
        return [] if influence is None else [self._both_sides(sides) for sides in influence.sides]

    def suspects(self) -> list[Tile]:
        """The most suspicious labels."""
        if self._findings.suspects is None:
            return []
        return [self._tiles.suspect(row) for row in _rows(self._findings.suspects.head(SUSPECTS))]

    def vulnerable(self) -> list[Tile]:
        """The examples most vulnerable to membership inference, by their lower limits."""
        vulnerability = self._findings.vulnerability
        if vulnerability is None:
            return []
        valued = vulnerability.examples[vulnerability.examples["vulnerability"].notna()]
        above_chance = valued[valued["low"] > 0.5].sort_values(["low", "example_id"], ascending=[False, True])
        return [self._tiles.scored(row, "vulnerability", labelled=True) for row in _rows(above_chance.head(VULNERABLE))]

    def _gallery(self, of_class: ClassStrips, value: str) -> Gallery:
        strips = tuple(
            (strip.title, tuple(self._tiles.scored(row, value, labelled=False) for row in _rows(strip.rows)))
            for strip in of_class.strips
        )
        name = class_name(self._findings.store, of_class.label)
        return Gallery(name, f"{count_text(of_class.examples, 'example')}", strips)

    def _both_sides(self, sides: InfluenceSides) -> BothSides:
        helpful, harmful = (
            tuple(self._tiles.influential(row, sides.significant) for row in _rows(pairs))
            for pairs in (sides.helpful, sides.harmful)
        )
        (row,) = _rows(pd.concat([sides.helpful, sides.harmful]).head(1))
        test = self._tiles.affected(sides.test, int(row["test_label"]), int(row["n_in"] + row["n_out"]))
        return BothSides(test, helpful, harmful)


def _rows(frame: pd.DataFrame) -> list[Row]:
    rows: list[dict[Any, Any]] = frame.to_dict("records")
    return rows

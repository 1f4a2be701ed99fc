"""Rules of explicit subsets: which training examples a run is trained without, by a column of scores.

Rules by share drop as many examples as a ratio leaves out. Rules by threshold drop all examples on one side of a score,
so that the ratio follows from the scores. In a campaign with several columns of scores each rule but `random` names the
one that it goes by.
"""

import math
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from workers.campaign.field_types import Frozen
from workers.campaign.score_column import UNNAMED, ScoreName
from workers.campaign.short_repr import short


def _quantile(quantile: float) -> float:
    exact = round(quantile, 6)
    if not 0 <= quantile < 1 or abs(quantile - exact) > 1e-12:
        raise ValueError
    return exact


def _without_negative_zero(score: float) -> float:
    return score + 0.0


ScoreThreshold = Annotated[float, AfterValidator(_without_negative_zero)]


class Window(Frozen):
    """Drops a window of the examples in ascending order of their scores."""

    window: Annotated[float, AfterValidator(_quantile)]
    """The quantile at which it starts, in [0, 1), with at most 6 decimals."""

    def __str__(self) -> str:
        return f"window {self.window:g}"


class WindowOf(Window):
    """A window of the order of one of several columns."""

    scores: ScoreName

    def __str__(self) -> str:
        return f"{self.scores} {super().__str__()}"


class LowestOf(Frozen):
    """Drops the lowest scores of one of several columns."""

    lowest: ScoreName

    def __str__(self) -> str:
        return f"{self.lowest} lowest"


class HighestOf(Frozen):
    """Drops the highest scores of one of several columns."""

    highest: ScoreName

    def __str__(self) -> str:
        return f"{self.highest} highest"


class ThresholdRule(Frozen):
    """Base: drops every example on one side of a score."""

    side: ClassVar[str]
    """In words."""

    @property
    def name(self) -> str:
        """What tells the rule from others, but for its threshold: its side, after the column's name if it has one."""
        return self.side

    @property
    def threshold(self) -> float:
        """The score; examples that have it are dropped."""
        raise NotImplementedError

    def __str__(self) -> str:
        return rule_text(self.name, self.threshold)


class AtLeast(ThresholdRule):
    """Drops every example with this score or a higher one."""

    side = "at least"
    at_least: ScoreThreshold

    @property
    def threshold(self) -> float:
        """See `ThresholdRule.threshold`."""
        return self.at_least


class AtMost(ThresholdRule):
    """Drops every example with this score or a lower one."""

    side = "at most"
    at_most: ScoreThreshold

    @property
    def threshold(self) -> float:
        """See `ThresholdRule.threshold`."""
        return self.at_most


class AtLeastOf(AtLeast):
    """The same of one of several columns."""

    scores: ScoreName

    @property
    def name(self) -> str:
        """See `ThresholdRule.name`."""
        return f"{self.scores} {self.side}"


class AtMostOf(AtMost):
    """The same of one of several columns."""

    scores: ScoreName

    @property
    def name(self) -> str:
        """See `ThresholdRule.name`."""
        return f"{self.scores} {self.side}"


def rule_text(rule: str, threshold: float) -> str:
    """A rule and its score, NaN for a rule without one: the shortest text that reads back as the score."""
    return rule if math.isnan(threshold) else f"{rule} {repr(threshold).removesuffix('.0')}"


def _known_rule(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        text = (
            "must be lowest, highest, random, {window: QUANTILE} with a QUANTILE from 0 to less than 1, "
            "{at_least: SCORE} or {at_most: SCORE}; of several columns "
            "{lowest: NAME} or scores: NAME"
        )
        raise ValueError(f"{text}, got {short(value)}") from None


_OneColumn = Literal["lowest", "highest", "random"] | Window | AtLeast | AtMost
_OfSeveral = WindowOf | LowestOf | HighestOf | AtLeastOf | AtMostOf
Rule = Annotated[_OneColumn | _OfSeveral, WrapValidator(_known_rule)]
"""Which examples a subset of the design `explicit` lacks, by their scores."""


def threshold_rules(drop: Sequence[Rule]) -> tuple[ThresholdRule, ...]:
    """The rules by threshold, in their order."""
    return tuple(rule for rule in drop if isinstance(rule, ThresholdRule))


def rules_at_ratio(drop: Sequence[Rule], ratios_ppm: Sequence[int], ratio_ppm: int) -> tuple[Rule, ...]:
    """Those that the runs of a ratio take turns by; a rule by threshold has the ratio at its place among these."""
    thresholds = threshold_rules(drop)
    if not thresholds:
        return tuple(drop)
    if ratio_ppm not in ratios_ppm:
        return ()
    own = thresholds[ratios_ppm.index(ratio_ppm)]
    return tuple(rule for rule in drop if rule == own or rule not in thresholds)


def column_of(rule: Rule | ThresholdRule) -> str:
    """The name of the column that a rule goes by; UNNAMED for the only one, and for `random`."""
    match rule:
        case LowestOf():
            return rule.lowest
        case HighestOf():
            return rule.highest
        case WindowOf() | AtLeastOf() | AtMostOf():
            return rule.scores
        case _:
            return UNNAMED


def check_rules(drop: Sequence[Rule], columns: Collection[str], ratios: Sequence[float]) -> None:
    """Raise ValueError for a rule by a column that is not there, where rules are equal, and where a window does not fit
    the ratios or stands beside thresholds."""
    for rule in drop:
        if rule != "random" and column_of(rule) not in columns:
            names = " or ".join(name for name in columns if name)
            which = f"name a column of scores, {names}" if names else "name no column, since scores has one"
            raise ValueError(f"drop: a rule must {which}, got {rule}")
    if len(set(map(str, drop))) != len(drop):
        raise ValueError(f"drop must be rules that are all different, got {', '.join(map(str, drop))}")
    windows, thresholds = [rule.window for rule in drop if isinstance(rule, Window)], threshold_rules(drop)
    if windows and thresholds:
        raise ValueError("drop: a window must be in a campaign without at_least and at_most, got one beside them")
    if windows and ratios and max(windows) > min(ratios):
        most = f"must start at the smallest ratio, {min(ratios):g}, at the latest"
        raise ValueError(f"drop: a window must end within the order, so it {most}, got {max(windows):g}")

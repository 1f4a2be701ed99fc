"""Sentences of a report's sections: which ratio, which pairs, which classes are shown."""

from analysis.report import Findings
from analysis.report.influence_findings import FDR, InfluenceFindings
from analysis.report.selections import MAX_CLASSES
from workers.campaign.plural import count_text


def ratio_text(findings: Findings) -> str:
    """The ratio of memorization and influence, and how to choose another."""
    if findings.ratio is None:
        return ""
    text = f"Memorization and influence are at ratio {findings.ratio:g}"
    if len(findings.ratios) < 2:
        return f"{text}: each run trained on that share of the training examples."
    ratios = ", ".join(f"{ratio:g}" for ratio in findings.ratios)
    return f"{text}, of {ratios}; longtail report --ratio chooses another."


def influence_text(findings: Findings) -> str:
    """How many pairs are discoveries, and which are shown."""
    influence = findings.influence
    if influence is None or influence.pairs is None:
        return ""
    parts = [
        "A test example, and the training examples that raise (helpful) and lower (harmful) the share of runs which "
        "get it right the most, with 95% intervals and the runs with | without.",
        *_tested(influence),
    ]
    pairs = (
        f"{count_text(len(influence.pairs), 'pair')} within a class {'has' if len(influence.pairs) == 1 else 'have'}"
    )
    selected = (
        f"{pairs} an influence of at least 0.15 and a memorization of at least 0.25 (the selection of Feldman and "
        "Zhang, 2020)"
    )
    discovered = influence.discovered_pairs
    parts.append(f"{selected}." if discovered is None else f"{selected}, {discovered:,} of them discoveries.")
    return " ".join(parts)


def _tested(influence: InfluenceFindings) -> list[str]:
    if influence.helpful is None or influence.harmful is None:
        shown = " Pairs with large values are shown, marked as not significant." if influence.sides else ""
        return [f"Pairs are not tested where runs share their subsets.{shown}"]
    helpful, harmful = len(influence.helpful), len(influence.harmful)
    tested = (
        f"Of all pairs, tested in both directions, {helpful:,} helpful and {harmful:,} harmful ones are discoveries at "
        f"a false discovery rate of {FDR:.0%}"
    )
    if influence.sides and influence.sides[0].significant:
        return [f"{tested}; only these are shown, the strongest evidence first."]
    if influence.sides:
        return [
            f"{tested}. Since no helpful pair is one, pairs with large values are shown, marked as not significant."
        ]
    return [f"{tested}."]


def chosen_classes_text(findings: Findings, means: str) -> str:
    """Which classes a gallery has where it has not all of them: those with the most extreme `means`."""
    classes = len(set(findings.labels.given_label.tolist()))
    if classes <= MAX_CLASSES:
        return ""
    return f"Of {classes:,} classes the {MAX_CLASSES} with the {means}; the table of classes leads to the others."

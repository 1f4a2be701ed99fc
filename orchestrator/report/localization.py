"""Localization section of a report: a figure and its text for each probe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report import probe_figures as draw
from analysis.report.figures import Picture
from analysis.report.probed import Probed
from orchestrator.report.campaign_text import number
from workers.campaign.plural import count_text

_PLUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
BARS = "Bars: one standard error over runs."
_MEANINGS = {
    "noisy": "Noisy examples are those whose given label is not the data set's: a model that predicts it memorized it.",
    "atypical": "Atypical examples are those that the scores of record.probes.split set apart.",
}
_MODES = {
    "own": "those that an example was trained with",
    "scaled": "all, times the share of the examples that train one",
    "drop": "none",
}

TableRow = Mapping[Any, Any]


@dataclass(frozen=True)
class MeasuredPart:
    """What one probe shows; a probe that found nothing to draw has no figure."""

    title: str
    sentences: tuple[str, ...]
    picture: Picture | None = None


def introduction(probed: Probed) -> str:
    """What the section compares, and how surely."""
    first, second = probed.groups
    runs = count_text(probed.runs, "measured run")
    errors = "means over runs ± one standard error" if probed.runs > 1 else "of a single run, without standard errors"
    text = (
        f"In which layers and units the network keeps what it memorized: {second} examples compared with {first} ones, "
    )
    text += f"in {runs} at ratio {probed.ratio:g}. Numbers are {errors}. {_MEANINGS.get(second, '')}"
    if probed.other:
        text += f" Also measured, by probes of the user's own: {', '.join(probed.other)}."
    return text.replace("  ", " ").strip()


def localization(probed: Probed) -> list[MeasuredPart]:
    """A part for each probe that was measured."""
    return [make(probed) for name, make in _PARTS.items() if name in probed.tables]


def _gradients(probed: Probed) -> MeasuredPart:
    first, second = probed.groups
    table, means = probed.tables["gradients"], probed.gradients
    title = "Gradients"
    if means is None or means["cosine"].notna().sum() == 0:
        return MeasuredPart(title, (f"In no epoch did both {first} and {second} examples have a gradient.",))
    known = means[means["cosine"].notna()]
    ordered = [dict(row) for row in known.sort_values("cosine", kind="stable").to_dict("records")]
    longest = [dict(row) for row in known.sort_values("norm_ratio", kind="stable").to_dict("records")]
    cosines = _between([(_plus(row, "cosine"), row["layer"]) for row in ordered])
    ratios = _between([(_plus(row, "norm_ratio"), row["layer"]) for row in longest])
    sentences = (
        f"The gradients of {first} and {second} examples, each summed over an epoch, have a cosine {cosines}, "
        "mean over epochs: below 0 what one group learns undoes what the other does.",
        f"The norm of the {second} examples' gradient is {ratios} times that of the {first} ones'.",
    )
    over = table.groupby("layer", sort=False)["cosine"]
    frame = means.assign(place=means["layer"], group="", value=means["cosine"], se=means["cosine_se"])
    frame = frame.assign(low=frame["layer"].map(over.min()), high=frame["layer"].map(over.max()))
    low = -1.03
    high = 0.1 if not (table["cosine"] > 0.05).any() else 1.03
    caption = (
        f"Cosine of both gradients by layer, mean over epochs; thin lines from the least epoch to the greatest. {BARS}"
    )
    picture = draw.by_place("gradients", frame, ("layer", "cosine"), caption, (low, high))
    norms = {f"norm, {group}": f"norm_{group}" for group in probed.groups}
    columns = {
        "layer": "layer",
        "cosine": "cosine",
        "flat cosine": "flat_cosine",
        **norms,
        "ratio of norms": "norm_ratio",
    }
    return MeasuredPart(title, sentences, draw.with_values(picture, means, columns))


def _rewinding(probed: Probed) -> MeasuredPart:
    first, second = probed.groups
    table = probed.tables["rewinding"]
    rules = list(dict.fromkeys(table["rule"]))
    rule = "reestimated" if "reestimated" in rules else rules[0]
    start, end = table["epoch"].min(), table["epoch"].max()
    compared = table[table["group"].isin(probed.groups)]
    # Of the epoch that training ended with the weights are the model's own, and the statistics too but for one rule.
    at_end = compared[(compared["epoch"] == end) & (compared["rule"] == rules[0])].drop_duplicates("group")
    trained = {row["group"]: row for row in at_end.to_dict("records")}
    rewound = compared[(compared["rule"] == rule) & (compared["epoch"] == start)]
    title = f"One layer rewound to {'its initial weights' if start == 0 else f'epoch {start}'}"
    ordered = _ordered(rewound, probed.groups)
    if not ordered:
        return MeasuredPart(title, (f"No run trained on {second} examples.",))
    most, least = ordered[0], ordered[-1]
    left = f"least with {_each(most, probed.groups)}"
    left += f" and greatest with {_each(least, probed.groups)}." if len(ordered) > 1 else ", the only layer."
    sentences = (
        f"With all layers as trained, {_percent(trained[second])} of the {second} examples are predicted and "
        f"{_percent(trained[first])} of the {first} ones."
        if {first, second} <= set(trained)
        else "",
        f"One layer rewound, accuracy on {second} examples is {left}",
    )
    rule_names = {"reestimated": "batch statistics re-estimated", "buffers": "batch statistics rewound too"}
    caption = (
        f"Accuracy by the layer that is rewound ({rule_names.get(rule, 'batch statistics kept')}); "
        f"dashed, with all layers as trained. {BARS}"
    )
    frame = rewound.assign(place=rewound["layer"], value=rewound["accuracy"], se=rewound["accuracy_se"])
    levels = {group: float(row["accuracy"]) for group, row in trained.items()}
    picture = draw.by_place("rewinding", frame, ("layer", "accuracy"), caption, draw.SHARES, levels)
    values = compared[compared["rule"] == rule]
    return MeasuredPart(title, tuple(filter(None, sentences)), _with_accuracies(picture, values, "layer", "epoch"))


def _retraining(probed: Probed) -> MeasuredPart:
    first, second = probed.groups
    table = probed.tables["retraining"]
    compared = table[table["group"].isin(probed.groups)]
    last = compared["epoch"].max()
    after = compared[compared["epoch"] == last]
    title = f"One layer trained anew on {first} examples"
    ordered = _ordered(after, probed.groups)
    if not ordered:
        return MeasuredPart(title, (f"No run trained on {second} examples.",))
    accuracies = _between([(_percent(row[second]), row["layer"]) for row in ordered])
    on_first = sorted((row[first]["accuracy"], _percent(row[first])) for row in ordered if first in row)
    others = f", and {_between([(text, '') for _, text in on_first])} of the {first} ones" if on_first else ""
    sentences = (
        f"After {count_text(int(last), 'epoch')} from its initial weights, with all other layers frozen, {accuracies} "
        f"of the {second} examples are predicted{others}.",
        "What is predicted without being shown again is in the other layers; the opposite does not follow.",
    )
    caption = f"Accuracy by the layer that is trained anew. {BARS}"
    frame = after.assign(place=after["layer"], value=after["accuracy"], se=after["accuracy_se"])
    picture = draw.by_place("retraining", frame, ("layer", "accuracy"), caption, draw.SHARES)
    return MeasuredPart(title, sentences, _with_accuracies(picture, compared, "layer", "epoch"))


def _neurons(probed: Probed) -> MeasuredPart:
    table, flips = probed.tables["neurons"], probed.flips
    rows = {row["group"]: row for row in table[table["under_10"].notna()].to_dict("records")}
    title = "Units to flip a prediction"
    shown = [group for group in reversed(probed.groups) if group in rows]
    if flips is None or flips.empty or not shown:
        return MeasuredPart(title, ("No sampled example is predicted as its given label: there is nothing to flip.",))
    tried = int(flips["units"].max())
    needs = [f"{_median(rows[group], tried)} of {group} examples" for group in shown]
    few = [f"{_percent(rows[group], 'under_10')} of the {group} ones" for group in shown]
    sentences = [
        f"The median number of units is {' and '.join(needs)}.",
        f"Fewer than 10 are enough for {' and '.join(few)}.",
    ]
    detection = probed.tables.get("neurons_detection", pd.DataFrame())
    first, second = probed.groups
    sentences += [
        f"Minus their number tells {second} from {first} examples with an AUC of {_plus(row, 'auc')}."
        for row in detection.to_dict("records")
        if row["auc"] == row["auc"]
    ]
    counted = [
        f"{row['n'] * row['runs']:,.0f} of {row['sampled'] * row['runs']:,.0f} {group}"
        for group, row in ((group, rows[group]) for group in shown)
    ]
    caption = (
        "Predictions flipped by so many units, one after the other set to 0, of the sampled examples that are "
        f"predicted as labelled ({', '.join(counted)}, in {count_text(probed.runs, 'run')}). "
        "Bands: one standard error over runs."
    )
    groups = [group for group in probed.groups if group in rows]
    picture = draw.flips("flips", flips, groups, caption)
    flips = flips.sort_values(["units", "group"], kind="stable")
    columns = {"group": "group", "units": "units", "flipped": "share"}
    return MeasuredPart(title, tuple(sentences), draw.with_values(picture, flips, columns))


def _dropout(probed: Probed) -> MeasuredPart:
    table = probed.tables["dropout"]
    modes = list(dict.fromkeys(table["mode"]))[::-1]  # from all that was trained to what is left
    table = table[table["accuracy"].notna() & table["runs"].gt(0)]
    table = table.sort_values("mode", key=lambda each: each.map(modes.index), kind="stable")
    texts = []
    for group in dict.fromkeys((*reversed(probed.groups), "test")):
        rows = table[table["group"] == group].to_dict("records")
        if rows:
            accuracies = [f"{_percent(row)} ({row['mode']})" for row in rows]
            texts.append(f"on {group} examples {', '.join(accuracies)}")
    title = "Memorization units dropped"
    if not texts:
        return MeasuredPart(title, ("No group of examples was measured.",))
    sentences = [f"Accuracy {'; '.join(texts)}."]
    lost = lost_examples(probed)
    if len(lost):
        first = probed.groups[0]
        often = int((lost["lost"] > 0.5).sum())
        sentences.append(
            f"Dropping loses {count_text(len(lost), f'{first} example')} in some run, {often:,} of them in most of the "
            "runs that trained on them: often these are ambiguous, or labelled wrongly in the data set itself."
        )
    meanings = "; ".join(f"{mode}: {_MODES[mode]}" for mode in modes if mode in _MODES)
    caption = f"Accuracy by the memorization units of example-tied dropout that are on ({meanings}). {BARS}"
    frame = table.assign(place=table["mode"], value=table["accuracy"], se=table["accuracy_se"])
    picture = draw.by_place("dropout", frame, ("memorization units", "accuracy"), caption, draw.SHARES)
    return MeasuredPart(title, tuple(sentences), _with_accuracies(picture, table, "mode"))


def lost_examples(probed: Probed) -> pd.DataFrame:
    """Rows of the table `dropped`: those of the first group that some run lost by dropping, lost in most runs first."""
    frame = probed.tables.get("dropped")
    if frame is None:
        return pd.DataFrame()
    return frame[(frame["group"] == probed.groups[0]) & (frame["lost"] > 0)]


_PARTS: dict[str, Callable[[Probed], MeasuredPart]] = {
    "gradients": _gradients,
    "rewinding": _rewinding,
    "retraining": _retraining,
    "neurons": _neurons,
    "dropout": _dropout,
}


def _ordered(frame: pd.DataFrame, groups: tuple[str, str]) -> list[dict[str, Any]]:
    """By layer the rows of each group, those least right on the second group first; without layers that lack it."""
    layers: list[dict[str, Any]] = []
    for layer, rows in frame[frame["accuracy"].notna()].groupby("layer", sort=False):
        layers.append({"layer": layer, **{row["group"]: row for row in rows.to_dict("records")}})
    return sorted((layer for layer in layers if groups[1] in layer), key=lambda each: each[groups[1]]["accuracy"])


def _each(layer: dict[str, Any], groups: tuple[str, str]) -> str:
    """A layer, and the accuracy of each group."""
    first, second = groups
    beside = f", {first} {_percent(layer[first])}" if first in layer else ""
    return f"{layer['layer']} ({second} {_percent(layer[second])}{beside})"


def _between(ordered: list[tuple[str, str]]) -> str:
    """`between LOW (layer) and HIGH (layer)`."""
    (low, lowest), (high, highest) = ordered[0], ordered[-1]
    named = [f"{text} ({layer})" if layer else text for text, layer in ((low, lowest), (high, highest))]
    return named[0] if len(ordered) == 1 or low == high else f"between {named[0]} and {named[1]}"


def _median(row: TableRow, tried: int) -> str:
    if row["median"] == float("inf"):
        return f"over {tried:,}"
    return _plus(row, "median", 1)


def _plus(row: TableRow, name: str, digits: int = 2) -> str:
    error = row[f"{name}_se"]
    return number(row[name], digits) + ("" if error != error else f"{_PLUS}{number(error, digits)}")


def _percent(row: TableRow, name: str = "accuracy") -> str:
    error = row[f"{name}_se"]
    text = number(100 * row[name], 1)
    return (text if error != error else f"{text}{_PLUS}{number(100 * error, 1)}") + "%"


def _with_accuracies(picture: Picture, frame: pd.DataFrame, *by: str) -> Picture:
    columns = {name: name for name in (*by, "group")}
    return draw.with_values(picture, frame, {**columns, "accuracy": "accuracy"})

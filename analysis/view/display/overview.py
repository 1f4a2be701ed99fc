"""A store's overview as HTML: what was trained, its runs and precision, and what can be called next."""

from html import escape
from typing import Any

import pandas as pd

from workers.campaign.campaign import Campaign
from workers.campaign.plural import count_text
from workers.store import Store

_METHODS = "memorization(), cscore(), influence(), suspects(), runs()"
_COLUMNS = ("ratio", "runs", "requested", "diverged", "test accuracy", "subset accuracy", "median se of mem")


def overview_facts(store: Store) -> list[tuple[str, str]]:
    """(term, text) pairs of the data set, the model and the training; text from the store, not escaped."""
    header, campaign = store.header, store.header.campaign
    sizes = f"{header.num_train:,} training and {count_text(header.num_test, 'test example')}"
    data = ("data", f"{header.dataset}: {sizes} of {count_text(len(header.class_names), 'class', 'classes')}")
    if not isinstance(campaign, Campaign):
        return [data, ("runs", f"imported ({campaign.experiment})")]
    recipe = campaign.recipe
    training = f"{count_text(recipe.epochs, 'epoch')} of minibatches of {recipe.batch_size}, {recipe.optimizer.name}"
    named = [("campaign", campaign.name)] if campaign.name else []
    return [*named, data, ("model", campaign.model.name), ("training", training)]


def overview_rows(summary: pd.DataFrame, errors: dict[float, float]) -> list[dict[str, str]]:
    """A row of texts for each ratio of a `StoreView.summary`; `errors` the median standard error of mem by ratio."""
    rows = []
    for row in summary.to_dict("records"):
        values = (
            f"{row['ratio']:g}",
            *(f"{row[name]:,}" for name in ("runs", "requested", "diverged")),
            *(_decimals(row[name]) for name in ("test_accuracy", "subset_accuracy")),
            _decimals(errors.get(row["ratio"], float("nan"))),
        )
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return rows


def next_steps(uri: str, rows: list[dict[str, str]]) -> list[str]:
    """What helps next: the rest of the runs, or the estimates and the report."""
    if not rows:
        return ["No runs are committed: longtail run trains them."]
    missing = any(int(row["runs"].replace(",", "")) < int(row["requested"].replace(",", "")) for row in rows)
    return [
        *(["Runs are missing: the same longtail run goes on."] if missing else []),
        f"Estimates: {_METHODS}; help(store) lists all.",
        f"Report: longtail report {uri} -o report.html",
    ]


def overview_html(uri: str, facts: list[tuple[str, str]], rows: list[dict[str, str]]) -> str:
    """A list of facts and a table of ratios; all text from the store is escaped."""
    listed = "".join(f'<tr><th scope="row">{escape(term)}</th><td>{escape(text)}</td></tr>' for term, text in facts)
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row.values())}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    steps = "".join(f"<p>{escape(step)}</p>" for step in next_steps(uri, rows))
    return f'<div class="longtail-store"><p><b>{escape(uri)}</b></p><table>{listed}</table>{table}{steps}</div>'


def _decimals(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:.4f}"

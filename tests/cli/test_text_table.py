"""Tables at every width: a number is whole or not there, columns left out are named, decimals are aligned."""

import io
import re

import numpy as np
import pytest

from orchestrator.cli.terminal import TextConsole
from orchestrator.cli.text_table import TableColumn, TextTable
from tests.command import call
from tests.synthetic import Labelled, make_stores, random_runs
from workers.campaign.plural import count_text, range_text

COMMANDS = (
    "status STORE",
    "memorization STORE",
    "cscore STORE",
    "influence STORE --ratio 0.7 --top 3",
    "influence STORE --ratio 0.7 --fdr 0.9",
    "noise STORE",
    "suspects STORE",
    "profiles STORE",
    "forgetting STORE --at evaluations --agreement",
    "reliability STORE --splits 2",
    "compare STORE STORE --ratio 0.7",
    "datamodels STORE --ratio 0.7",
)


def printed(table: TextTable, width: int | None) -> list[str]:
    console = TextConsole(file=io.StringIO(), width=width, _environ={})
    with console.capture() as captured:
        console.print(table, crop=False)
    return captured.get().splitlines()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two ratios, 40 runs each, three epochs, noisy labels."""
    random = np.random.default_rng(5)
    bits = [(random.random((40, 24)) < 0.5, random.random((40, 6)) < 0.5) for _ in range(2)]
    runs = {ratio: random_runs(random, 40, 24, 6, ratio, earlier=bits) for ratio in (0.3, 0.7)}
    labels = Labelled([0] * 24, [1, 1, 1, *[0] * 21], [0] * 6)
    return make_stores(tmp_path_factory.mktemp("tables") / "s", runs, labels).uri


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_cuts_a_number(command: str, store: str) -> None:
    words = [store if word == "STORE" else word for word in command.split()]
    code, wide, error = call(*words)
    assert code == 0, error
    numbers = set(re.findall(r"[-+.\w%]*\d[-+.\w%]*", wide.replace(store, "")))
    for columns in (40, 80):
        code, output, error = call(*words, columns=columns)
        narrow = re.sub(r"not shown at \d+ columns", "", output.replace(store, ""))
        assert (code, "…" in output) == (0, False), error
        assert set(re.findall(r"[-+.\w%]*\d[-+.\w%]*", narrow)) <= numbers, output
        assert not re.search(r"\b(nan|None|NaN)\b", output)


def test_columns_are_left_out_by_rank_and_named() -> None:
    table = TextTable(
        [TableColumn("id"), TableColumn("value"), TableColumn("low", 2), TableColumn("high", 1)], "-o FILE writes all"
    )
    table.add_row(1, "0.25", "-1.5", "12.125")
    table.add_row(100, float("nan"), None, "")
    assert printed(table, 80) == [
        " id  value   low    high",
        "  1   0.25  -1.5  12.125",
        "100   -      -     -",
    ]
    assert printed(table, 20) == [
        " id  value    high",
        "  1   0.25  12.125",
        "100   -      -",
        "not shown at 20",
        "columns: low (-o",
        "FILE writes all)",
    ]
    assert printed(table, 8) == [
        *("id: 1", "value: 0.25", "low: -1.5", "high: 12.125", ""),
        *("id: 100", "value: -", "low: -", "high: -"),
    ]


def test_where_no_width_is_known_nothing_is_left_out() -> None:
    table = TextTable([TableColumn(f"heading {number}", number) for number in range(30)])
    table.add_row(*(number / 7 for number in range(30)))
    assert max(map(len, printed(table, None))) > 300


def test_names_give_way_before_numbers_do() -> None:
    table = TextTable([TableColumn("example"), TableColumn("value", 1), TableColumn("name", 2, kind="name")])
    table.add_row(7, "0.125", "a/long/path/to/picture-17.png")
    assert printed(table, 34)[1].split() == ["7", "0.125", ".../picture-17.png"]
    assert "name" not in printed(table, 24)[0] and "0.125" in printed(table, 24)[1]


def test_counts_in_words() -> None:
    assert [count_text(number, "run") for number in (0, 1, 2, 3000)] == ["0 runs", "1 run", "2 runs", "3,000 runs"]
    assert count_text(2, "class", "classes") == "2 classes"
    assert [range_text(1, 1, "run"), range_text(1, 12, "run")] == ["1 run", "1 to 12 runs"]

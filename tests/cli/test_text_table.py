"""Tables at every width: a number is whole or not there, columns left out are named, decimals are aligned."""

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.scoring.example_scores import DENSITIES
from orchestrator.cli import demo
from orchestrator.cli import output as printed_on
from orchestrator.cli.commands import density, removal, tune
from orchestrator.cli.output import show_table
from orchestrator.cli.table_output import count_cell, share_text
from orchestrator.cli.terminal import TextConsole
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.store_ops.density import Densities
from orchestrator.tuning.choice import Cost, choose
from orchestrator.tuning.session import SearchProgress, SearchReport
from tests.command import call
from tests.conftest import small_campaign
from tests.synthetic import Labelled, make_stores, random_runs
from tests.tuning.test_choice import trial_result
from workers.campaign.plural import count_text, range_text
from workers.campaign.yaml_io import dump_campaign
from workers.training import hardware

COMMANDS = (
    "status STORE",
    "memorization STORE",
    "cscore STORE",
    "influence STORE --ratio 0.7 --top 3",
    "influence STORE --ratio 0.7 --fdr 0.9",
    "noise STORE",
    "suspects STORE",
    "proxies STORE",
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
    made = make_stores(tmp_path_factory.mktemp("tables") / "s", runs, labels)
    ids = {
        name: np.arange(24) if name == "example_id" else np.zeros(24, np.int64)
        for name in ("example_id", "label", "given_label")
    }
    densities = {name: random.random(24) for name in DENSITIES}
    made.write_estimate("density", pa.table({**ids, **densities}), {})  # the only proxies without presentations
    return made.uri


def numbers_in(output: str) -> set[str]:
    return set(re.findall(r"[-+.\w%]*\d[-+.\w%]*", re.sub(r"not shown at \d+ columns", "", output)))


def check_numbers_are_whole(output_at: Callable[[int], str]) -> None:
    """Every number of the output on 40 and on 80 columns is one of the output on 200; and none is NaN."""
    wide = output_at(200)
    assert numbers_in(wide)
    for columns in (40, 80):
        output = output_at(columns)
        assert "…" not in output and "not shown at 200" not in wide
        assert numbers_in(output) <= numbers_in(wide), output
        assert not re.search(r"\b(nan|None|NaN)\b", output)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_cuts_a_number(command: str, store: str) -> None:
    words = [store if word == "STORE" else word for word in command.split()]

    def output_at(columns: int) -> str:
        code, output, error = call(*words, columns=columns)
        assert code == 0, error
        return output.replace(store, "")

    check_numbers_are_whole(output_at)


def test_a_plan_cuts_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan` at two ratios, with targets that it takes many runs to reach."""
    monkeypatch.setattr(hardware, "free_memory", lambda: 20_400_000_000)  # two calls would differ in what is free
    path = tmp_path / "campaign.yaml"
    path.write_text(dump_campaign(small_campaign(subsets={"ratios": [0.3, 0.7], "repetitions": 1000})))

    def output_at(columns: int) -> str:
        code, output, error = call("plan", path, "--target-se", 0.0123, columns=columns)
        assert code == 0, error
        return output

    check_numbers_are_whole(output_at)


def random_frame(columns: str, rows: int = 4) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame({name: random.random(rows) for name in columns.split()})


def show_densities() -> None:
    spaces = " ".join(f"{space}_density{kind}" for space in ("input", "hidden") for kind in ("", "_same", "_relative"))
    ids = {"example_id": range(59_997, 60_001), "label": [7] * 4, "given_label": [3] * 4}
    density._show(Densities(random_frame(spaces).assign(**ids), 1.5, 0.01, ()))


def show_removal() -> None:
    figures = (
        "test_accuracy se low high removed random_accuracy difference difference_se difference_low difference_high"
    )
    frame = random_frame(figures).assign(rule="window 0.25", runs=1000, diverged=12, threshold=np.nan, random_runs=1000)
    frame["examples_removed"] = 1_234_567
    frame.loc[2, ["rule", "threshold"]] = "at least", 0.123456789
    frame.loc[3, ["se", "low", "high"]] = np.nan  # of one run
    removal._show(frame)


def show_trials() -> None:
    trials = [trial_result(number, "fitted", [0.98765, 0.9 + number / 1000], 1e12, 1234.5) for number in range(3)]
    choice = choose(trials, Cost.operations)
    tune._show_trials(SearchReport(SearchProgress(9, ended=9, fitted=3), trials, choice, choice, None, []))


def show_demo() -> None:
    mem = random_frame("mem low high p_in p_out").assign(example_id=59_999, label=3, n_in=12_345, n_out=67_890)
    pairs = random_frame("infl low high").assign(example_id=59_999, test_example_id=9_999, test_label=3)
    show_table(demo._memorized_table(mem))
    show_table(demo._influence_table(pairs))


@pytest.mark.parametrize("show", [show_densities, show_removal, show_trials, show_demo], ids=lambda each: each.__name__)
def test_no_table_of_long_work_cuts_a_number(show: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of `density`, `removal`, `tune` and `demo`, without the training."""

    def output_at(columns: int) -> str:
        monkeypatch.setattr(printed_on.console, "_width", columns)
        with redirect_stdout(io.StringIO()) as output:
            show()
        return output.getvalue()

    check_numbers_are_whole(output_at)


def test_a_correlation_that_there_is_not_has_a_reason(store: str, tmp_path: Path) -> None:
    labels, scores = np.array([0] * 24), np.full(24, 0.5)
    np.savez(tmp_path / "flat.npz", labels=labels, scores=scores)
    code, output, error = call("compare", store, tmp_path / "flat.npz", "--estimate", "cscore")
    assert (code, "nan" in output) == (0, False), error
    assert "Spearman -, Pearson -, mean absolute difference 0." in output
    assert "no correlation: all values of b are equal\n" in output


def test_counts_are_whole_numbers_where_they_are() -> None:
    assert [count_cell(value) for value in (60000.0, 1436.9, 7, float("nan"))] == ["60000", "1436.9", "7", "-"]
    assert [share_text(value) for value in (0.125, float("nan"))] == ["12.5%", "-"]


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

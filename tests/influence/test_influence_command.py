"""`longtail influence`: every list, and what a careless user meets. On Ray: tests/runners/test_ray.py."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import open_store
from tests.command import call
from tests.synthetic import make_store


def planted(path: Path) -> str:
    """60 runs, in which test example z is right where training example z was there, and sometimes else."""
    random = np.random.default_rng(0)
    subsets = random.random((60, 50)) < 0.7
    test = subsets[:, :30] | (random.random((60, 30)) < 0.4)
    return make_store(path, subsets, subsets, test).uri


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return planted(tmp_path_factory.mktemp("influence") / "s")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"top": 5}),
        (["--top", 2], {"top": 2}),
        (["--threshold", 0.5], {"threshold": 0.5}),
    ],
)
def test_lists_are_those_of_the_notebook(
    store: str, options: list[object], expected: dict[str, float], tmp_path: Path
) -> None:
    code, output, _ = call("influence", store, *options, "-o", tmp_path / "pairs.parquet")
    frame = pd.read_parquet(tmp_path / "pairs.parquet")
    assert code == 0
    assert f"{len(frame)} pairs from 60 runs" in output
    found = len(open_store(store).discoveries(fdr=0.05))
    beside = f"pairs, {found:,} are discoveries at a false discovery rate of 0.05 (--fdr 0.05 lists them)"
    assert (beside in " ".join(output.split())) == ("--threshold" in options)
    pd.testing.assert_frame_equal(open_store(store).influence(**expected), frame, check_exact=True)  # type: ignore[arg-type]


@pytest.mark.slow
def test_discoveries_as_text_and_csv(store: str, tmp_path: Path) -> None:
    code, output, _ = call("influence", store, "--fdr", 0.01, "--same-class", "-o", tmp_path / "pairs.csv")
    frame = pd.read_csv(tmp_path / "pairs.csv")
    assert code == 0
    assert len(frame) >= 20
    assert (frame["test_example_id"] == frame["example_id"]).mean() > 0.9
    assert "q_value" in output.splitlines()[0]
    assert len(frame) == len(open_store(store).discoveries(fdr=0.01, same_class=True))


@pytest.mark.slow
def test_the_matrix(store: str, tmp_path: Path) -> None:
    code, output, _ = call("influence", store, "--matrix", tmp_path / "m")
    assert (code, "30 x 50 influences in 1 file" in output) == (0, True)
    found = np.stack(pd.read_parquet(tmp_path / "m")["infl"].to_list())
    assert (found == open_store(store).influence_matrix()).all()
    code, _, errors = call("influence", store, "--matrix", tmp_path / "m")
    assert (code, "must be an empty folder" in errors) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--top", 3, "--fdr", 0.1], 2, "give one of --threshold, --fdr, --top and --matrix"),
        (["--fdr", "nan"], 2, "--fdr must be between 0 and 1, got nan"),
        (["--fdr", 1], 2, "--fdr must be between 0 and 1, got 1.0"),
        (["--same-class"], 2, "--same-class needs --threshold or --fdr"),
        (["--top", 3, "--training-side", "x.csv"], 2, "--training-side needs --threshold or --fdr"),
        (["--min-mem", 0.25], 2, "--min-mem needs --threshold"),
        (["--fdr", 0.1, "--training-side", "x.txt"], 2, "--training-side: must end with .parquet or .csv, got 'x.txt'"),
        (["--fdr", 0.1, "-o", "x.csv", "--training-side", "x.csv"], 2, "--training-side: must be another file than"),
        (["--address", "x:1"], 2, "--address needs --runner ray"),
        (["-o", "pairs.xlsx"], 2, "--output: must end with .parquet or .csv, got 'pairs.xlsx'"),
        (["-o", "/no/such/folder/pairs.csv"], 2, "/no/such/folder/pairs.csv: cannot be written: "),
        (["--ratio", 0.3], 2, "ratio must be one of 0.7, got 0.3"),
        (["--threshold", -1, "--max-pairs", 10], 2, "more than 10 pairs at ratio 0.7 reach the threshold"),
    ],
)
def test_mistakes_are_one_line(store: str, options: list[object], code: int, message: str) -> None:
    found, _, errors = call("influence", store, *options)
    assert (found, message in errors) == (code, True), errors
    assert "Traceback" not in errors

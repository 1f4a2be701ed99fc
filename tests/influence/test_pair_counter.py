"""What influence is counted from: packed bits, compiled counts, blocks on threads."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import EstimateError, influence_matrix, influence_pairs, influence_top, write_influence_matrix
from analysis.influence import popcount
from analysis.influence.pair_options import PairOptions
from analysis.reading.bits import RatioBits, pack_bits, ratio_bits
from analysis.reading.examples import Labels
from analysis.reading.parallel import Threads


def made(subsets: np.ndarray, correct: np.ndarray) -> RatioBits:
    labels = Labels(*(np.zeros(width, np.int64) for width in (subsets.shape[1], subsets.shape[1], correct.shape[1])))
    return ratio_bits(700_000, 1, 0, labels, pack_bits(subsets), pack_bits(correct))


def random_bits(runs: int, examples: int, tests: int, seed: int = 0) -> tuple[RatioBits, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    subsets, correct = random.random((runs, examples)) < 0.7, random.random((runs, tests)) < 0.8
    return made(subsets, correct), subsets, correct


sizes = st.tuples(st.integers(0, 300), st.integers(1, 300), st.integers(1, 20))


@settings(max_examples=40)
@given(size=sizes, seed=st.integers(0, 1000))
def test_packing_keeps_every_run(size: tuple[int, int, int], seed: int) -> None:
    bits, subsets, correct = random_bits(*size, seed=seed)
    assert (bits.subsets.unpacked() == subsets).all()
    assert (bits.test_correct.unpacked() == correct).all()
    assert bits.n_in.tolist() == subsets.sum(axis=0).tolist()
    rows = np.random.default_rng(seed).permutation(size[0])[: size[0] // 2]
    some = bits.of_runs(rows)
    assert some.runs == len(rows)
    assert (some.subsets.unpacked() == subsets[rows]).all()
    assert some.correct.tolist() == correct[rows].sum(axis=0).tolist()


@pytest.fixture(params=["numpy", "compiled"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts all pairs, few or many, with these kernels."""
    monkeypatch.setattr(popcount, "_FEW", 10**12 if request.param == "numpy" else -1)


def slow_matrix(subsets: np.ndarray, correct: np.ndarray) -> np.ndarray:
    matrix = np.empty((correct.shape[1], subsets.shape[1]))
    for z in range(correct.shape[1]):
        for i in range(subsets.shape[1]):
            groups = (correct[subsets[:, i], z], correct[~subsets[:, i], z])
            p_in, p_out = (group.mean() if len(group) else 0.5 for group in groups)
            matrix[z, i] = p_in - p_out
    return matrix


@pytest.mark.usefixtures("kernels")
# Sizes around a word of 64 runs, four of them, and a tile of 128 examples.
@pytest.mark.parametrize("runs", [1, 63, 64, 65, 255, 256, 257, 330])
@pytest.mark.parametrize(("examples", "tests"), [(1, 1), (127, 3), (129, 2)])
def test_every_size_is_counted_right(runs: int, examples: int, tests: int) -> None:
    bits, subsets, correct = random_bits(runs, examples, tests, seed=runs)
    expected = slow_matrix(subsets, correct)
    assert influence_matrix(bits) == pytest.approx(expected, abs=1e-6)
    pairs = influence_pairs(bits, threshold=0.05, options=PairOptions(empty="half"))
    keys = list(zip(pairs["test_example_id"], pairs["example_id"], strict=True))
    assert sorted(keys) == [tuple(pair) for pair in np.argwhere(expected >= 0.05)]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("memory_mb", [1e-6, 0.05, 512])
def test_neither_blocks_nor_threads_change_a_bit(threads: int, memory_mb: float) -> None:
    bits, _, _ = random_bits(40, 900, 37)
    spread = Threads(threads)
    for estimate, options in ((influence_top, {"top": 7}), (influence_pairs, {"threshold": 0.2})):
        expected = estimate(bits, **options)
        assert len(expected) > 200
        pd.testing.assert_frame_equal(
            estimate(bits, **options, options=PairOptions(memory_mb=memory_mb, parallel=spread)),
            expected,
            check_exact=True,
        )
    assert (
        influence_matrix(bits, options=PairOptions(memory_mb=memory_mb, parallel=spread)) == influence_matrix(bits)
    ).all()


@pytest.mark.slow
def test_many_ties_go_to_the_smaller_ids() -> None:
    random = np.random.default_rng(0)
    subsets = random.random((6, 3000)) < 0.5
    correct = np.stack([subsets[:, 11], np.ones(6, bool), np.zeros(6, bool), subsets[:, 1500]], axis=1)
    bits, expected = made(subsets, correct), slow_matrix(subsets, correct)
    found = influence_top(bits, top=9, options=PairOptions(empty="half"))
    for z in range(4):
        best = np.lexsort((np.arange(3000), -expected[z]))[:9]
        assert found[found["test_example_id"] == z]["example_id"].tolist() == best.tolist()


def test_the_matrix_as_files(tmp_path: Path) -> None:
    bits, _, _ = random_bits(40, 30, 25)
    assert write_influence_matrix(bits, tmp_path / "m", options=PairOptions(memory_mb=0.2)) > 1
    frame = pd.read_parquet(tmp_path / "m")
    assert frame["test_example_id"].tolist() == list(range(25))
    assert (np.stack(frame["infl"].to_list()) == influence_matrix(bits)).all()
    (row,) = pd.read_parquet(tmp_path / "m", filters=[("test_example_id", "==", 7)])["infl"]
    assert (row == influence_matrix(bits, [7])[0]).all()
    with pytest.raises(EstimateError, match="must be an empty folder"):
        write_influence_matrix(bits, tmp_path / "m")
    (tmp_path / "file").touch()
    with pytest.raises(EstimateError, match="cannot be written"):
        write_influence_matrix(bits, tmp_path / "file")


def squared(shared: int, piece: int) -> int:
    if piece == shared:
        raise ValueError(f"piece {piece}")
    time.sleep(0.001 * (5 - piece % 5))  # later pieces are done first
    return piece**2


def test_threads_keep_the_order_and_tell_how_far_they_are() -> None:
    told: list[tuple[int, int]] = []
    spread = Threads(3, on_progress=lambda done, total: told.append((done, total)))
    assert list(spread.map(squared, -1, range(20))) == [k**2 for k in range(20)]
    assert told == [(done, 20) for done in range(1, 21)]
    assert list(spread.map(squared, -1, [])) == []


def test_an_error_in_a_piece_reaches_the_caller() -> None:
    results: Iterator[int] = Threads(2).map(squared, 3, range(1000))
    with pytest.raises(ValueError, match="piece 3"):
        list(results)

"""Influential pairs at a false discovery rate: the same as with all p-values held, and as rarely false as promised."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from analysis import EstimateError, RatioBits, TooManyPairsError, influence_discoveries
from analysis.influence import popcount
from analysis.influence.p_values import significant_counts
from analysis.influence.pair_counter import UNREACHABLE, count_pairs
from analysis.influence.pair_options import PairOptions
from analysis.reading.bits import pack_bits, ratio_bits
from analysis.reading.examples import Labels

PLANTED = 12


def planted(seed: int, runs: int = 150, examples: int = 80, tests: int = 40, effect: float = 0.5) -> RatioBits:
    """Runs in which each of the first tests is right with one training example, and the other tests by luck."""
    random = np.random.default_rng(seed)
    subsets = random.random((runs, examples)) < 0.6
    chance = np.tile(random.random(tests), (runs, 1))
    chance[:, :PLANTED] = 0.3 + effect * subsets[:, :PLANTED]
    correct = random.random((runs, tests)) < chance
    label, test_label = np.arange(examples) % 3, np.arange(tests) % 3
    return ratio_bits(600_000, 1, 0, Labels(label, label, test_label), pack_bits(subsets), pack_bits(correct))


def all_p_values(bits: RatioBits) -> np.ndarray:
    """[T, N], one pair after another's counts, from scipy."""
    together = bits.test_correct.unpacked().astype(int).T @ bits.subsets.unpacked().astype(int)
    return np.clip(hypergeom.sf(together - 1, bits.runs, bits.correct[:, None], bits.n_in[None]), 0, 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fdr", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("max_pairs", [40, 10_000])
@pytest.mark.parametrize("same_class", [False, True])
def test_the_same_as_with_all_p_values(
    seed: int, fdr: float, max_pairs: int, same_class: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(popcount, "_FEW", -1)  # the compiled kernels, which are for many pairs
    bits = planted(seed)
    values = all_p_values(bits)
    tried = bits.labels.test_label[:, None] == bits.labels.given_label if same_class else np.full(values.shape, True)
    adjusted = np.full(values.shape, 2.0)
    adjusted[tried] = false_discovery_control(values[tried])
    expected = np.argwhere(adjusted <= fdr)
    if len(expected) > max_pairs:
        with pytest.raises(TooManyPairsError, match="more than 40 pairs are discoveries"):
            influence_discoveries(bits, fdr=fdr, same_class=same_class, options=PairOptions(max_pairs=max_pairs))
        return
    found = influence_discoveries(bits, fdr=fdr, same_class=same_class, options=PairOptions(max_pairs=max_pairs))
    z, i = found["test_example_id"].to_numpy(), found["example_id"].to_numpy()
    assert sorted(zip(z, i, strict=True)) == [tuple(pair) for pair in expected]
    assert found["p_value"].to_numpy() == pytest.approx(values[z, i], rel=1e-9)
    assert found["q_value"].to_numpy() == pytest.approx(adjusted[z, i], rel=1e-9)
    assert (found["infl"] > 0).all()
    assert found["test_example_id"].is_monotonic_increasing


@pytest.mark.slow
@settings(max_examples=30)
@given(
    runs=st.integers(0, 300),
    seed=st.integers(0, 1000),
    level=st.sampled_from([1.0, 0.5, 0.05, 1e-3, 1e-9, 1e-40, 1e-300]),
)
def test_bars_are_the_smallest_counts_with_such_a_p_value(runs: int, seed: int, level: float) -> None:
    random = np.random.default_rng(seed)
    subsets, correct = random.random((runs, 6)) < random.random(6), random.random((runs, 5)) < random.random(5)
    labels = Labels(*(np.zeros(width, np.int64) for width in (6, 6, 5)))
    bits = ratio_bits(500_000, 1, 0, labels, pack_bits(subsets), pack_bits(correct))
    some = count_pairs(bits, np.arange(6), "half")
    bars = significant_counts(some, level)[bits.correct]
    for z, total in enumerate(bits.correct):
        for group, n_in in enumerate(some.sizes):
            most = min(n_in, total)
            values = hypergeom.sf(np.arange(most + 1) - 1, runs, total, n_in) if runs else np.ones(1)
            reached = np.flatnonzero(values <= level * (1 + 1e-6))
            strictly = np.flatnonzero(values <= level * (1 - 1e-6))
            fewest = max(0, total - (runs - n_in))
            assert bars[z, group] >= (max(reached[0], fewest) if len(reached) else UNREACHABLE)
            assert bars[z, group] <= (max(strictly[0], fewest) if len(strictly) else UNREACHABLE)


@pytest.mark.parametrize("same_class", [False, True])
def test_several_ratios_are_one_list_with_one_rate(same_class: bool) -> None:
    ratios = [planted(0), replace(planted(1, runs=90, effect=0.35), ratio_ppm=700_000)]
    values = [all_p_values(bits) for bits in ratios]
    tried = np.full(values[0].shape, True)
    if same_class:
        tried = ratios[0].labels.test_label[:, None] == ratios[0].labels.given_label
    adjusted = np.full((2, *tried.shape), 2.0)
    adjusted[:, tried] = false_discovery_control(np.concatenate([value[tried] for value in values])).reshape(2, -1)
    found = influence_discoveries(ratios, fdr=0.2, same_class=same_class)
    pairs = found[["ratio", "test_example_id", "example_id"]].itertuples(index=False)
    expected = [((0.6, 0.7)[k], z, i) for k, z, i in np.argwhere(adjusted <= 0.2)]
    assert sorted(map(tuple, pairs)) == sorted(expected)
    with pytest.raises(EstimateError, match="got none"):
        influence_discoveries([])


@pytest.mark.slow
def test_false_discoveries_are_as_rare_as_asked_for() -> None:
    shares, found = [], 0
    for seed in range(60):
        pairs = influence_discoveries(planted(seed, runs=80, effect=0.6), fdr=0.2)
        true = (pairs["test_example_id"] == pairs["example_id"]) & (pairs["example_id"] < PLANTED)
        shares.append(1 - true.mean() if len(pairs) else 0.0)
        found += int(true.sum())
    assert np.mean(shares) < 0.2 + 3 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.02, "a rate that is never spent is no rate"
    assert found > 60 * PLANTED / 2


def test_nothing_is_discovered_where_there_is_nothing() -> None:
    for bits in (planted(0).of_runs([]), planted(0).of_runs([0, 1, 2]), planted(0, effect=0.0).of_runs(range(20))):
        assert influence_discoveries(bits).empty


def test_discoveries_have_limits_of_the_level_asked_for() -> None:
    usual, wider = (
        influence_discoveries(planted(0)),
        influence_discoveries(planted(0), options=PairOptions(confidence=0.999)),
    )
    assert len(usual) >= PLANTED
    assert (wider["low"] < usual["low"]).all()
    assert (usual["high"] < wider["high"]).all()


@pytest.mark.parametrize("fdr", [0, 1, -1, 5, float("nan")])
def test_a_rate_is_between_0_and_1(fdr: float) -> None:
    with pytest.raises(EstimateError, match="fdr must be between 0 and 1, got"):
        influence_discoveries(planted(0), fdr=fdr)

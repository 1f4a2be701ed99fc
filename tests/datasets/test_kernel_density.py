"""Densities around examples: closed forms, a slow reference, and that tiles make no difference."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workers.datasets.kernel_density import KernelDensities, Vectors, kernel_densities


def densities(features: object, labels: object, **options: Any) -> KernelDensities:
    tensor = torch.tensor(np.asarray(features), dtype=torch.float32)
    return kernel_densities(Vectors.of(tensor), np.asarray(labels, dtype=np.int64), **options)


def slow(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """C, C^L, C^+-L and h, as the paper writes them, in float64."""
    count = len(features)
    points = features.astype(np.float64).reshape(count, -1)
    distances = np.array([[np.linalg.norm(x - y) for y in points] for x in points])
    h = distances[~np.eye(count, dtype=bool)].mean() / 2 if count > 1 else 0.0
    kernel = np.exp(-((distances / h) ** 2)) if h else (distances == 0).astype(float)
    same = labels[:, None] == labels
    return kernel.mean(axis=1), (kernel * same).mean(axis=1), (kernel * (2 * same - 1)).mean(axis=1), h


@pytest.mark.parametrize("labels", [[0, 0], [0, 1]])
def test_two_points_are_two_bandwidths_apart(labels: list[int]) -> None:
    found, other = densities([[0.0, 3.0], [4.0, 0.0]], labels), np.exp(-4)
    same = labels[0] == labels[1]
    assert found.bandwidth == pytest.approx(2.5)
    np.testing.assert_allclose(found.plain, (1 + other) / 2, rtol=1e-6)
    np.testing.assert_allclose(found.same, (1 + same * other) / 2, rtol=1e-6)
    np.testing.assert_allclose(found.relative, (1 + (2 * same - 1) * other) / 2, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 7e-40])
def test_all_equal_points_are_as_dense_as_can_be(value: float) -> None:
    found = densities(np.full((7, 5), value), [0, 0, 1, 2, 0, 1, 0], tile=3)
    assert found.bandwidth == 0
    np.testing.assert_allclose(found.plain, 1)
    np.testing.assert_allclose(found.same * 7, [4, 4, 2, 1, 4, 2, 4])


def test_one_example() -> None:
    found = densities([[3.0]], [5])
    assert (found.bandwidth, *found.plain, *found.same, *found.relative) == (0, 1, 1, 1)


def test_duplicates_count_one_by_one() -> None:
    """a, a, b: h is half of (0 + d + d) / 3, so K(a, b) = exp(-9)."""
    found = densities([[1.0, 2.0], [1.0, 2.0], [7.0, 9.0]], [0, 1, 1])
    np.testing.assert_allclose(found.plain * 3, [2 + np.exp(-9), 2 + np.exp(-9), 1 + 2 * np.exp(-9)], rtol=1e-6)
    np.testing.assert_allclose(found.same * 3, [1, 1 + np.exp(-9), 1 + np.exp(-9)], rtol=1e-6)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40)
def test_equals_the_slow_reference_whatever_the_tiles(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 17), st.integers(1, 6)))
    features = data.draw(arrays.arrays(np.float32, shape, elements=st.integers(-5, 5).map(float)))
    labels = data.draw(arrays.arrays(np.int64, shape[0], elements=st.integers(0, 4)))
    # Where the data lie, and in which unit, does not matter.
    unit, shift = data.draw(st.sampled_from([1e-18, 1.0, 1e18])), data.draw(st.sampled_from([0.0, 64.0]))
    found = densities((features + np.float32(shift)) * np.float32(unit), labels, tile=data.draw(st.integers(1, 20)))
    plain, same, relative, h = slow(features, labels)
    # Duplicates: a distance of 0 is known to the square root of float32's precision only.
    assert found.bandwidth / unit == pytest.approx(h, rel=2e-3, abs=2e-3 * float(np.ptp(features)))
    for got, expected in ((found.plain, plain), (found.same, same), (found.relative, relative)):
        np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.slow
def test_tiles_make_no_difference_beyond_rounding() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(500, 3, 4)) * 3 + 100, random.integers(0, 7, 500)
    whole = densities(features, labels, tile=500)
    plain, same, relative, h = slow(features.astype(np.float32), labels)
    for tile in (16, 64, 499):
        found = densities(features, labels, tile=tile)
        assert found.bandwidth == pytest.approx(h, rel=1e-6)
        for name, expected in (("plain", plain), ("same", same), ("relative", relative)):
            np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=2e-6, atol=1e-9)


def test_one_class_alone() -> None:
    found = densities(np.random.default_rng(1).normal(size=(50, 2)), np.full(50, 3), tile=16)
    np.testing.assert_array_equal(found.plain, found.same)
    np.testing.assert_array_equal(found.plain, found.relative)


@pytest.mark.slow
def test_a_sampled_bandwidth_has_the_error_that_it_tells() -> None:
    features = np.random.default_rng(2).gamma(1, size=(3000, 4))
    exact = densities(features, np.zeros(3000))
    sampled = densities(features, np.zeros(3000), bandwidth_examples=400)
    assert exact.bandwidth_se == 0
    assert 0 < abs(sampled.bandwidth - exact.bandwidth) < 4 * sampled.bandwidth_se < 0.2 * exact.bandwidth
    again = densities(features, np.zeros(3000), bandwidth_examples=400, tile=100)
    assert again.bandwidth == pytest.approx(sampled.bandwidth, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="vectors must be finite"):
        densities([[0.0], [value], [1.0]], [0, 0, 1])


@pytest.mark.parametrize("labels", [[0], [0, 1, 2], []])
def test_labels_must_fit(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels must be one for each of the 2"):
        densities([[0.0], [1.0]], labels)


def test_progress_ends_with_all_tiles() -> None:
    told: list[tuple[int, int]] = []
    kernel_densities(
        Vectors.of(torch.zeros(5, 1)), np.zeros(5, dtype=np.int64), tile=2, on_tile=lambda *now: told.append(now)
    )
    assert told == [(done, 6) for done in range(1, 7)]

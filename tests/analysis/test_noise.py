from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis.noise import ASSUMED_NOISE, assumed, benjamini_hochberg, estimate, exact, holm, quantile, two_sided

Array = np.ndarray[Any, Any]


def balanced(rng: np.random.Generator, points: int, starts: int, between: float, within: float) -> tuple[Array, ...]:
    """Each start measures every point once."""
    point, start = np.tile(np.arange(points), starts), np.repeat(np.arange(starts), points)
    values = rng.normal(0, between, starts)[start] + rng.normal(0, within, len(point))
    return values[:, None], point, start


def test_both_parts_of_the_noise_are_found() -> None:
    rng = np.random.default_rng(1)
    found = [estimate(*balanced(rng, 20, 4, 0.03, 0.01)) for _ in range(400)]
    between = np.mean([noise.start[0, 0] - noise.leak * noise.within[0, 0] for noise in found if noise])
    within = np.mean([noise.within[0, 0] for noise in found if noise])
    assert np.sqrt([between, within]) == pytest.approx([0.03, 0.01], rel=0.05)
    assert found[0] is not None
    assert (found[0].start_df, found[0].within_df, found[0].leak) == pytest.approx((3, 57, 1 / 20))


def test_a_balanced_design_gives_the_analysis_of_variance() -> None:
    values, point, start = balanced(np.random.default_rng(2), 6, 3, 0.03, 0.01)
    of_start = np.array([values[start == number].mean() for number in range(3)])
    noise = estimate(values, point, start)
    assert noise is not None
    assert noise.start[0, 0] == pytest.approx(of_start.var(ddof=1))  # so a t test of means of starts is exact
    error, df = noise.errors(1 / 3, 1 / 18)
    assert (float(error), float(df)) == pytest.approx((of_start.std(ddof=1) / 3**0.5, 2))


def test_unbalanced_designs_give_the_same_on_average() -> None:
    """Starts of different points and sizes, points with more or fewer repeats."""
    rng = np.random.default_rng(3)
    point = np.concatenate([np.arange(30), np.arange(15), np.arange(10, 30), [40, 40, 41, 42]])
    start = np.concatenate([np.full(30, 0), np.full(15, 1), np.full(20, 2), [3, 4, 4, 5]])
    _, point = np.unique(point, return_inverse=True)
    found = []
    for _ in range(1500):
        values = rng.normal(0, 0.03, 6)[start] + rng.normal(0, 0.01, len(point))
        noise = estimate(values[:, None], point, start)
        assert noise is not None
        found.append((noise.start[0, 0] - noise.leak * noise.within[0, 0], noise.within[0, 0]))
    assert np.sqrt(np.mean(found, axis=0)) == pytest.approx([0.03, 0.01], rel=0.06)


def test_metrics_that_move_together_are_seen_to() -> None:
    rng = np.random.default_rng(4)
    values, point, start = balanced(rng, 50, 40, 0.03, 0.01)
    noise = estimate(np.concatenate([values, -2 * values], axis=1), point, start)
    assert noise is not None
    assert noise.start == pytest.approx(noise.start[0, 0] * np.array([[1, -2], [-2, 4]]))


def test_without_repeats_nothing_can_be_estimated() -> None:
    assert estimate(np.zeros((3, 1)), np.arange(3), np.array([0, 0, 1])) is None
    assert estimate(np.zeros((0, 1)), np.zeros(0, int), np.zeros(0, int)) is None


def test_repeats_of_one_start_tell_the_residual_only() -> None:
    values = np.array([[0.01], [-0.01], [0.02], [-0.02]])
    noise = estimate(values, np.array([0, 0, 1, 1]), np.zeros(4, int))
    assert noise is not None and noise.assumed
    assert noise.between_starts == pytest.approx(ASSUMED_NOISE)
    assert noise.within_start == pytest.approx(0.0005**0.5)


def test_starts_of_one_row_hold_all_of_the_noise() -> None:
    rng = np.random.default_rng(5)
    noise = estimate(rng.normal(0, 0.02, (2000, 1)), np.repeat(np.arange(400), 5), np.arange(2000))
    assert noise is not None
    assert noise.start[0, 0] ** 0.5 == pytest.approx(0.02, rel=0.05)
    assert noise.within_df == 0 and noise.start_df == pytest.approx(1600)


def test_a_sum_over_starts_keeps_its_level_also_where_starts_are_few() -> None:
    """Two sweeps of two starts each: a t test of 2 degrees of freedom, where a normal one would be wrong in 18 %."""
    rng, wrong, draws = np.random.default_rng(6), 0, 2000
    for _ in range(draws):
        sides = [balanced(rng, 8, 2, 0.03, 0.01) for _ in "ab"]
        values = np.concatenate([side[0] for side in sides])
        point = np.concatenate([sides[0][1], sides[1][1] + 8])
        noise = estimate(values, point, np.concatenate([sides[0][2], sides[1][2] + 2]))
        assert noise is not None
        error, df = noise.errors(2 * 2 * 0.5**2, 2 / 16)
        wrong += float(two_sided((sides[1][0].mean() - sides[0][0].mean()) / error, df)) < 0.05
    assert 0.04 < wrong / draws < 0.06


def test_assumed_noise_is_shared_by_all_metrics_and_exactly_known() -> None:
    noise = assumed(2, 0.02)
    assert noise.start == pytest.approx(np.full((2, 2), 0.0004))
    error, df = noise.errors([1.0, 4.0], [1.0, 1.0])
    assert error == pytest.approx([0.02, 0.04]) and np.isinf(df).all()
    error, df = exact(1).errors(1.0, 1.0)
    assert float(error) == 0 and np.isinf(df)


def test_chances_and_quantiles_are_those_of_tables() -> None:
    assert two_sided([2.776, 1.96, -1.96, np.inf], [4, np.inf, np.inf, 3]) == pytest.approx(
        [0.05, 0.05, 0.05, 0], abs=1e-4
    )
    assert quantile(0.975, [4, np.inf]) == pytest.approx([2.776, 1.96], abs=1e-3)


chances = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(chances)
def test_holm_is_what_its_definition_says(p: list[float]) -> None:
    """The k-th smallest of m is compared with level / (m - k + 1), and the first that is not below ends it."""
    adjusted = holm(np.array(p))
    for level in (0.01, 0.05, 0.5):
        held = 0
        for k, value in enumerate(sorted(p)):
            if value * (len(p) - k) > level:
                break
            held += 1
        assert (adjusted <= level).sum() >= held
        assert (np.sort(adjusted)[:held] <= level).all() and (np.sort(adjusted)[held:] > level).all()


@given(chances)
def test_benjamini_hochberg_is_what_its_definition_says(p: list[float]) -> None:
    """All up to the largest k whose k-th smallest is at most k / m of the level."""
    adjusted, m = benjamini_hochberg(np.array(p)), len(p)
    for level in (0.01, 0.05, 0.5):
        held = max((k for k, value in enumerate(sorted(p), start=1) if value * m / k <= level), default=0)
        assert (adjusted <= level).sum() == held

from __future__ import annotations

import numpy as np
import pytest

from sweep.analysis import matching, measurements
from tests.standins import sweeps


@pytest.mark.parametrize("between_starts", [0.0, 0.01])
def test_means_are_drawn_with_the_noise_that_errors_are_made_of(between_starts: float) -> None:
    """The estimate of a start's offset holds a share of the row noise, which must not be drawn twice."""
    truth = sweeps.points(shapes=1)
    truth = truth[truth["concurrency"] <= 2]  # a start has two rows only, so that share is a half
    a, b = (sweeps.measured(n, truth, repeats=50, between_starts=between_starts, within=0.02) for n in (1, 2))
    sides = measurements.sides(matching.pair(a, b), ["output_tput_per_gpu"])
    noise = measurements.noise_of(*sides, None, False)
    points = len(truth)
    assert noise.leak == pytest.approx(0.5)
    for weights in (np.full(points, 1 / points), np.eye(points)[0]):
        error, _ = noise.errors(*sides[0].spreads(weights))
        drawn = sides[0].drawn(noise, points, 4000, np.random.default_rng(3))[:, :, 0] @ weights
        assert drawn.std() == pytest.approx(float(error), rel=0.08)

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import sweep
from sweep.analysis import Comparison, Verdict, compare
from sweep.errors import UsageError
from tests.standins import sweeps

TRUTH = sweeps.points(shapes=2)
LESS_NOISE: dict[str, Any] = {"between_starts": 0.003, "within": 0.002}


def verdicts(found: Comparison) -> dict[str, int]:
    return found.rows["verdict"].value_counts().to_dict()


def simulated(df: pd.DataFrame, **changed: Any) -> pd.DataFrame:
    return df.assign(source="simulated", deployment_id="s", **changed)


# ------------------------------------------------------------------------------------------------------ the verdict


def test_a_sweep_is_the_same_as_itself() -> None:
    a = sweeps.measured(1, TRUTH)
    found = compare(a, a)
    assert found.verdict is Verdict.SAME and not found.regressed
    assert verdicts(found) == {"same": len(TRUTH)}
    assert found.rows["ratio"].tolist() == pytest.approx([1.0] * len(TRUTH))


def test_a_slower_sweep_is_slower_as_a_whole_and_point_by_point() -> None:
    found = compare(sweeps.measured(1, TRUTH, **LESS_NOISE), sweeps.measured(2, TRUTH, speed=0.95, **LESS_NOISE))
    assert found.verdict is Verdict.SLOWER and found.regressed
    assert verdicts(found) == {"slower": len(TRUTH)}
    assert set(found.tests["verdict"]) == {"slower"}
    assert found.rows["ratio"].mean() == pytest.approx(0.95, abs=0.005)
    whole = found.tests[found.tests["isl"].isna()].iloc[0]
    assert (whole["test"], whole["points"]) == ("geometric mean", len(TRUTH))
    assert whole["ratio_low"] < 0.95 < whole["ratio_high"]
    back = compare(sweeps.measured(2, TRUTH, speed=0.95, **LESS_NOISE), sweeps.measured(1, TRUTH, **LESS_NOISE))
    assert back.verdict is Verdict.FASTER and not back.regressed


def test_the_whole_is_asked_three_questions_per_group() -> None:
    a = sweeps.measured(1, TRUTH)
    tests = compare(a, sweeps.measured(2, TRUTH), at=[60, 500]).tests
    asked = (
        tests[["isl", "test", "at"]].astype(object).where(tests[["isl", "test", "at"]].notna(), None).values.tolist()
    )
    assert asked == [
        [1024, "geometric mean", None],
        [1024, "hypervolume", None],
        [1024, "throughput at", 60.0],
        [8192, "geometric mean", None],
        [8192, "hypervolume", None],
        [8192, "throughput at", 60.0],
        [None, "geometric mean", None],
    ]
    assert compare(a, a).tests["at"].notna().sum() == 6  # three of each group by itself
    assert set(compare(a, a, by=["isl"]).tests.columns[:2]) == {"isl", "test"}


def test_one_front_that_falls_and_one_that_rises_are_mixed() -> None:
    speed = np.where(TRUTH["isl"] == 1024, 0.9, 1.1)
    found = compare(sweeps.measured(1, TRUTH, **LESS_NOISE), sweeps.measured(2, TRUTH, speed=speed, **LESS_NOISE))
    assert found.verdict is Verdict.MIXED and found.regressed


def test_one_slower_point_is_told_and_is_no_regression_of_the_whole() -> None:
    hidden = TRUTH.index[(TRUTH.isl == 1024) & (TRUTH.tp == 4) & (TRUTH.ep == 1) & (TRUTH.concurrency == 1)][0]
    speed = np.where(TRUTH.index == hidden, 0.9, 1.0)
    found = compare(sweeps.measured(3, TRUTH), sweeps.measured(4, TRUTH, speed=speed))
    slower = found.rows[found.rows["verdict"] != "same"]
    assert slower["point_id"].tolist() == [TRUTH["point_id"][hidden]] and slower["verdict"].tolist() == ["slower"]
    assert found.verdict is Verdict.SAME


def test_less_is_better_in_latencies() -> None:
    a, b = sweeps.measured(1, TRUTH, **LESS_NOISE), sweeps.measured(2, TRUTH, speed=0.9, **LESS_NOISE)
    found = compare(a, b, metric="ttft_ms_p50")
    assert found.verdict is Verdict.SLOWER and found.rows["ratio"].min() > 1.05
    assert set(found.tests["test"]) == {"geometric mean"}  # there is no front of latencies


def test_without_streaming_the_front_is_that_of_end_to_end_speed() -> None:
    a, b = (
        sweeps.measured(seed, TRUTH).rename(columns={"tps_per_user": "tps_per_user_e2e"}).assign(tps_per_user=np.nan)
        for seed in (1, 2)
    )
    assert "hypervolume" in set(compare(a, b).tests["test"])
    assert set(compare(*(df.drop(columns="tps_per_user_e2e") for df in (a, b))).tests["test"]) == {"geometric mean"}


# ---------------------------------------------------------------------------------------------------- the statistics


def differing(draws: int, options_a: dict[str, Any], options_b: dict[str, Any]) -> list[bool]:
    """Compare pairs of drawn sweeps of one shape and return which look different."""
    truth = sweeps.points(shapes=1)
    found = [
        compare(sweeps.measured(2 * n, truth, **options_a), sweeps.measured(2 * n + 1, truth, **options_b))
        for n in range(draws)
    ]
    return [one.verdict is not Verdict.SAME for one in found]


def test_equal_sweeps_look_equal_and_slower_ones_slower() -> None:
    """A small version of tests/benchmarks/analysis.py; of 40 draws more than 5 would differ once in 70 times at 5 %."""
    assert sum(differing(40, {}, {})) <= 5
    assert all(differing(10, {}, {"speed": 0.95}))


FEW: dict[str, Any] = {"repeats": 2, "one_start_per_repeat": True}


@pytest.mark.parametrize(
    ("options_a", "options_b"), [(FEW, FEW), ({}, {"repeats": 1}), ({"repeats": 1}, {})], ids=["few", "5-1", "1-5"]
)
def test_the_level_holds_where_starts_are_few_and_where_repeats_are_unequal(
    options_a: dict[str, Any], options_b: dict[str, Any]
) -> None:
    assert sum(differing(20, options_a, options_b)) <= 3


def test_noise_comes_from_repeats_where_there_are_any() -> None:
    found = compare(sweeps.measured(1, TRUTH), sweeps.measured(2, TRUTH))
    assert found.noise is not None and not found.noise.assumed
    assert found.noise.start_df == pytest.approx(2 * 3 * 4)
    assert found.noise.within_start == pytest.approx(sweeps.WITHIN, rel=0.1)
    assert "from repeats" in found.notes[-1] and "24 degrees of freedom" in found.notes[-1]
    assert set(found.rows["starts_a"]) == {5}


def test_without_repeats_noise_is_assumed_and_that_is_told() -> None:
    a, b = sweeps.measured(1, TRUTH, repeats=1), sweeps.measured(2, TRUTH, repeats=1)
    found = compare(a, b)
    assert found.noise is not None and found.noise.assumed
    assert "No point has a repeat, so noise is ASSUMED: 2.5% between engine starts" in found.notes[-1]
    assert "TensorRT-LLM's performance CI" in found.notes[-1]
    one_start = compare(*(sweeps.measured(n, TRUTH).assign(deployment_id="d") for n in (1, 2)))
    assert "All repeats of a point are of one engine start, so noise is ASSUMED" in one_start.notes[-1]


def test_noise_can_be_given() -> None:
    a, b = sweeps.measured(1, TRUTH, repeats=1), sweeps.measured(2, TRUTH, repeats=1, speed=0.95)
    assert compare(a, b, noise=0.10).verdict is Verdict.SAME
    sure = compare(a, b, noise=0.002)
    assert sure.verdict is Verdict.SLOWER and "Noise as given: 0.2%" in sure.notes[-1]
    assert sure.tests["detectable"].max() < compare(a, b).tests["detectable"].min()


def test_a_repeat_alone_tells_nothing_of_another_sweep_without() -> None:
    """Noise of the sweep that has repeats is taken for both."""
    found = compare(sweeps.measured(1, TRUTH), sweeps.measured(2, TRUTH, repeats=1))
    assert found.noise is not None and found.noise.start_df == pytest.approx(12)
    assert set(found.rows["rows_b"]) == {1}


def test_imported_rows_have_starts_by_repeat() -> None:
    a, b = (sweeps.measured(n, TRUTH, one_start_per_repeat=True).assign(deployment_id=pd.NA) for n in (1, 2))
    found = compare(a, b)
    assert found.noise is not None and found.noise.start_df == pytest.approx(2 * 3 * 4)
    bare = compare(a.drop(columns=["deployment_id", "engine_id"]), b.drop(columns=["deployment_id", "engine_id"]))
    assert bare.noise is not None and bare.noise.start_df == pytest.approx(2 * 4)


# ----------------------------------------------------------------------------------------- what cannot be compared


def test_points_that_ran_on_something_else_are_not_compared_unless_allowed() -> None:
    a, b = sweeps.measured(1, TRUTH), sweeps.measured(2, TRUTH, speed=0.9)
    other = b.assign(driver_version=np.where(b["tp"] == 8, "590.2", "580.1"))
    found = compare(a, other)
    blocked = found.rows[found.rows["verdict"] == "not comparable"]
    assert set(blocked["tp"]) == {8} and set(blocked["differs"]) == {"driver_version 580.1 → 590.2"}
    assert blocked["ratio"].isna().all() and blocked["a"].notna().all()
    assert found.verdict is Verdict.SLOWER and found.tests["points"].max() == 44
    assert any("22 of 66 points that are in both are not comparable" in note for note in found.notes)
    allowed = compare(a, other, allow=["driver_version"])
    assert "not comparable" not in verdicts(allowed) and allowed.tests["points"].max() == 66
    none = compare(a, b.assign(driver_version="590.2"))
    assert none.verdict is Verdict.NOT_COMPARABLE and none.tests.empty and none.noise is None


def test_another_image_is_compared_and_told() -> None:
    a = sweeps.measured(1, TRUTH, **LESS_NOISE)
    b = sweeps.measured(2, TRUTH, speed=1.1, **LESS_NOISE).assign(image="trtllm:2")
    found = compare(a, b.assign(point_id="x" + b["point_id"]))
    assert found.verdict is Verdict.FASTER and found.changed == {"image": ("trtllm:1", "trtllm:2")}


def test_a_point_without_a_number_is_not_comparable() -> None:
    a, b = sweeps.measured(1, TRUTH), sweeps.measured(2, TRUTH)
    b.loc[b["concurrency"] == 1, "output_tput_per_gpu"] = np.nan
    assert verdicts(compare(a, b)) == {"same": 60, "not comparable": 6}


def test_sweeps_without_a_common_point_are_not_comparable() -> None:
    for other in (TRUTH.assign(point_id="x", isl=7), TRUTH.iloc[:0], TRUTH.assign(status="failed")):
        found = compare(sweeps.measured(1, TRUTH), other)
        assert found.verdict is Verdict.NOT_COMPARABLE and found.rows.empty and found.tests.empty
        assert "No point is in both." in found.notes


# ------------------------------------------------------------------------------------------------------ predictions


def test_a_prediction_is_held_against_measurements_and_never_judged() -> None:
    predicted = simulated(TRUTH, output_tput_per_gpu=TRUTH["output_tput_per_gpu"] * 1.2)
    measured = sweeps.measured(1, TRUTH, between_starts=0, within=0)
    for a, b in ((measured, predicted), (predicted, measured)):
        found = compare(a, b)
        assert found.verdict is Verdict.PREDICTION and not found.regressed
        assert verdicts(found) == {"prediction": len(TRUTH)}
        assert found.rows["ratio"].tolist() == pytest.approx([1.2] * len(TRUTH))
        errors = found.tests.set_index(["isl", "metric"]).loc[(1024, "output_tput_per_gpu")]
        assert errors[["points", "median_ratio", "mape", "worst_ratio", "rank_correlation"]].tolist() == pytest.approx(
            [33, 1.2, 0.2, 1.2, 1.0]
        )
        assert found.tests["isl"].isna().sum() == found.tests["metric"].nunique()


def test_a_rank_correlation_needs_three_points_that_differ() -> None:
    two = TRUTH.iloc[:2]
    assert compare(sweeps.measured(1, two), simulated(two)).tests["rank_correlation"].isna().all()
    flat = TRUTH.assign(output_tput_per_gpu=1.0)
    errors = compare(flat, simulated(flat)).tests
    assert errors.loc[errors["metric"] == "output_tput_per_gpu", "rank_correlation"].isna().all()


def test_two_predictions_differ_exactly() -> None:
    a = simulated(TRUTH)
    found = compare(a, a.assign(output_tput_per_gpu=a["output_tput_per_gpu"] * 0.999))
    assert found.verdict is Verdict.SLOWER and verdicts(found) == {"slower": len(TRUTH)}
    assert "Both are predictions, not measurements" in found.notes[-1]
    assert compare(a, a).verdict is Verdict.SAME
    other = compare(a.assign(simulator_version="2"), a.assign(simulator_version="3"))
    assert other.verdict is Verdict.NOT_COMPARABLE


def test_an_interactivity_that_no_front_reaches_is_told() -> None:
    a = sweeps.measured(1, TRUTH)
    found = compare(a, a, at=[60, 1e6])
    assert found.tests["at"].dropna().unique().tolist() == [60.0]
    assert "No group has a throughput at 1e+06 tok/s/user: that lies outside of its fronts." in found.notes
    assert not any("outside" in note for note in compare(a, a).notes)


def test_only_a_throughput_has_a_front() -> None:
    a = sweeps.measured(1, TRUTH).assign(acceptance_length_mean=2.0)
    for metric in ("tps_per_user", "acceptance_length_mean"):
        found = compare(a, a, metric=metric, at=[60])
        assert set(found.tests["test"]) == {"geometric mean"}
        assert f"{metric} is no throughput, so it has no front, and nothing to say at 60 tok/s/user." in found.notes


@pytest.mark.parametrize("metric", ["cost_usd_per_million_output_tokens", "output_tokens_per_j"])
def test_what_is_counted_per_output_token_is_no_throughput(metric: str) -> None:
    costs = metric.startswith("cost_")
    a, b = (
        df.assign(**{metric: (1 / df["output_tput_per_gpu"] if costs else df["output_tput_per_gpu"] / 1000)})
        for df in (sweeps.measured(1, TRUTH, **LESS_NOISE), sweeps.measured(2, TRUTH, speed=1.1, **LESS_NOISE))
    )
    found = compare(a, b, metric=metric)
    assert found.verdict is Verdict.FASTER
    assert set(found.tests["test"]) == {"geometric mean"}


def test_every_throughput_has_a_front() -> None:
    a = sweeps.measured(1, TRUTH)
    for metric in ("tput_per_gpu", "output_tput_tps", "total_tput_tps", "request_tput_rps", "request_goodput_rps"):
        assert "hypervolume" in set(
            compare(*[a.assign(**{metric: a["output_tput_per_gpu"]})] * 2, metric=metric).tests["test"]
        )


def test_where_nothing_is_in_both_nothing_is_said_of_what_they_ran_on() -> None:
    a = sweeps.measured(1, TRUTH)
    assert compare(a, a.iloc[:0]).notes == ("No point is in both.",)


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "output_tput"}, 'no column output_tput; did you mean "output_tput_per_gpu"'),
        ({"metric": "model"}, "the column model holds no numbers"),
        ({"noise": 2}, "noise must be a share"),
        ({"alpha": 0}, "alpha must be a share"),
        ({"noise": "2%"}, "noise must be a share from 0 to 1, such as 0.02 for 2 %, not '2%'"),
        ({"alpha": "5%"}, "alpha must be a share between 0 and 1, such as 0.05, not '5%'"),
        ({"alpha": None}, "alpha must be a share"),
        ({"at": "30,60"}, "at must have one or more numbers, not '30,60'"),
        ({"at": [[30, 60]]}, "at must have one or more numbers"),
        ({"allow": ["driver"]}, 'did you mean "driver_version"'),
        ({"allow": "driver"}, 'did you mean "driver_version"'),
        ({"by": ["nope"]}, "by: nope is no setting"),
        ({"by": "modle"}, 'by: modle is no setting, and groups are made of settings; did you mean "model"'),
        ({"by": ["gpu_name"]}, "by: gpu_name is no setting"),
        ({"by": ["pp"]}, "by: neither a nor b has a column pp"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(TRUTH, TRUTH, **options)


def test_one_name_and_one_number_need_no_list() -> None:
    a = sweeps.measured(1, TRUTH)
    b = sweeps.measured(2, TRUTH).assign(driver_version="590.2")
    found = compare(a, b, at=60, by="isl", allow="driver_version")
    assert found.tests["at"].dropna().tolist() == [60.0, 60.0]
    assert found.tests.columns[:2].tolist() == ["isl", "test"]
    assert compare(a, a.drop(columns="model")).tests.columns[:2].tolist() == ["bench", "isl"]


def test_one_frame_is_of_one_source() -> None:
    with pytest.raises(UsageError, match="b has rows that are measured and simulated; take one: b"):
        compare(TRUTH, pd.concat([TRUTH, simulated(TRUTH)]))


def test_the_public_name_is_this_one() -> None:
    assert sweep.compare is compare


@pytest.mark.parametrize("level", [float("nan"), float("inf"), [60.0, float("-inf")]])
def test_interactivities_are_finite(level: Any) -> None:
    a = sweeps.measured(1, TRUTH)
    with pytest.raises(UsageError, match="at must have one or more finite numbers"):
        compare(a, a, at=level)

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sweep.analysis.matching import differences, pair, unknown
from sweep.errors import UsageError
from tests.standins import sweeps

TRUTH = sweeps.points(shapes=1)


def renamed(df: pd.DataFrame, **changed: Any) -> pd.DataFrame:
    """The same points as another sweep would have them: changed settings give other ids."""
    return df.assign(**changed, point_id="x" + df["point_id"])


def test_points_are_matched_by_their_ids() -> None:
    b = TRUTH.iloc[::-1].assign(image="of no matter: the id says that it is the same")
    found = pair(TRUTH, b.iloc[:-1])
    assert len(found.points) == len(TRUTH) - 1
    assert found.changed == {} and found.notes == ()
    ids = found.points["point_id"].to_numpy()
    assert (found.a["point_id"].to_numpy() == ids[found.a_point]).all()
    assert (found.b["point_id"].to_numpy() == ids[found.b_point]).all()
    assert found.unmatched[["point_id", "side", "why"]].values.tolist() == [[TRUTH["point_id"][0], "a", "not in B"]]


def test_what_differs_as_a_whole_is_left_out_of_the_match_and_told() -> None:
    found = pair(TRUTH, renamed(TRUTH, image="trtllm:2"))
    assert len(found.points) == len(TRUTH)
    assert found.changed == {"image": ("trtllm:1", "trtllm:2")}
    assert found.unmatched.empty


def test_a_setting_that_follows_from_others_may_differ_in_part() -> None:
    b = renamed(TRUTH, num_requests=TRUTH["concurrency"].clip(lower=16) * 10, image="trtllm:2")
    assert set(b["num_requests"]) & set(TRUTH["num_requests"])
    found = pair(TRUTH, b)
    assert len(found.points) == len(TRUTH)
    assert found.changed == {"image": ("trtllm:1", "trtllm:2"), "num_requests": ("9 values", "7 values")}


def test_layouts_that_both_sweeps_have_are_matched_and_no_others() -> None:
    b = renamed(TRUTH, image="trtllm:2")
    found = pair(TRUTH[TRUTH.tp == 4], b[b.ep > 1])
    assert set(found.points["tp"]) == {4} and set(found.points["ep"]) == {4}
    assert found.unmatched["side"].value_counts().to_dict() == {"a": 11, "b": 11}
    with_other_layout = pair(TRUTH[TRUTH.tp == 4], TRUTH[TRUTH.tp == 8])
    assert len(with_other_layout.points) == 0  # two layouts of one sweep cannot both be the one of the other


def test_another_layout_of_all_points_is_a_change() -> None:
    found = pair(TRUTH[TRUTH.ep == 4], renamed(TRUTH[TRUTH.ep == 8]))
    assert len(found.points) == 11
    assert found.changed == {"tp": ("4", "8"), "ep": ("4", "8")}


def test_another_workload_is_another_point() -> None:
    found = pair(TRUTH, renamed(TRUTH, isl=2048))
    assert len(found.points) == 0
    assert found.notes == ("isl is 1024 in A and 2048 in B, so no point of A is one of B.",)
    assert len(found.unmatched) == 2 * len(TRUTH)


def test_what_an_imported_sweep_does_not_know_is_no_difference() -> None:
    imported = renamed(TRUTH).assign(image=pd.NA, num_requests=pd.NA)
    found = pair(TRUTH, imported)
    assert len(found.points) == len(TRUTH)
    assert found.changed == {}
    assert found.notes == ("Not known of one of the sweeps, so not compared: image, num_requests.",)


def test_without_ids_settings_are_enough_and_without_both_nothing_can_be_done() -> None:
    plain = TRUTH.drop(columns="point_id")
    assert len(pair(plain, plain).points) == len(TRUTH)
    with pytest.raises(UsageError, match="neither a point_id nor settings"):
        pair(TRUTH[["output_tput_per_gpu"]], TRUTH[["output_tput_per_gpu"]])


def test_only_ok_rows_count_and_the_others_say_why_a_point_is_missing() -> None:
    b = TRUTH.assign(status="ok", failure_kind=None)
    b.loc[3, ["status", "failure_kind"]] = ["failed", "oom"]
    b.loc[4, "status"] = "invalid"
    found = pair(TRUTH, b)
    assert len(found.points) == len(TRUTH) - 2
    assert found.unmatched["why"].tolist() == ["failed (oom) in B", "invalid in B"]


def test_points_that_cannot_be_told_apart_are_not_matched() -> None:
    twice = pd.concat([renamed(TRUTH, image="trtllm:2"), renamed(TRUTH, image="trtllm:3").assign(point_id="y")])
    found = pair(TRUTH.iloc[:1], twice.iloc[[0, len(TRUTH)]])
    assert len(found.points) == 0
    assert set(found.unmatched["side"]) == {"a", "b"}


def test_points_that_failed_hide_none_that_did_not() -> None:
    """A sweep over two images, of which one never ran, is compared by the one that did."""
    ran = renamed(TRUTH, image="trtllm:2").assign(status="ok")
    failed = ran.assign(image="trtllm:3", point_id="y" + TRUTH["point_id"], status="failed")
    found = pair(TRUTH, pd.concat([ran, failed]))
    assert len(found.points) == len(TRUTH)
    assert found.changed == {"image": ("trtllm:1", "trtllm:2")} and found.unmatched.empty


def test_an_empty_sweep_has_no_pairs() -> None:
    for a, b in ((TRUTH, TRUTH.iloc[:0]), (TRUTH.iloc[:0], TRUTH), (TRUTH.iloc[:0], TRUTH.iloc[:0])):
        assert len(pair(a, b).points) == 0


# ---------------------------------------------------------------------------------------------- what it ran on


def differing(b: pd.DataFrame, a: pd.DataFrame = TRUTH, **options: Any) -> list[dict[str, tuple[str, str]]]:
    return differences(pair(a, b), **options)


def test_another_driver_or_clock_is_a_difference_of_its_points() -> None:
    b = TRUTH.copy()
    b.loc[0, "driver_version"] = "590.2"
    b.loc[1, "sm_clock_mhz"] = 1410.0
    b.loc[2, "sm_clock_mhz"] = 1880.0  # a power cap does that
    b.loc[3, ["driver_version", "sm_clock_mhz"]] = [None, float("nan")]
    found = differing(b)
    assert found[0] == {"driver_version": ("580.1", "590.2")}
    assert found[1] == {"sm_clock_mhz": ("1,900", "1,410")}
    assert [names for names in found[2:] if names] == []


def test_repeats_that_ran_on_two_drivers_are_not_those_that_ran_on_one() -> None:
    two = pd.concat([TRUTH, TRUTH.assign(driver_version="590.2")])
    assert differing(TRUTH, two)[0] == {"driver_version": ("580.1, 590.2", "580.1")}
    assert differing(two, two)[0] == {}


def test_what_follows_from_a_change_is_no_news() -> None:
    a = TRUTH.assign(
        trtllm_version="1.2", image_digest="sha256:a", effective_dtype="bfloat16", effective_max_batch_size=8
    )
    b = a.assign(trtllm_version="1.3", image_digest="sha256:b", effective_dtype="BF16", effective_max_batch_size=9)
    assert differing(b, a)[0].keys() == {
        "trtllm_version",
        "image_digest",
        "effective_dtype",
        "effective_max_batch_size",
    }
    assert differing(renamed(b, image="trtllm:2"), a)[0].keys() == {"effective_max_batch_size"}
    assert (
        differing(
            renamed(b.assign(image_digest="sha256:a", trtllm_version="1.2"), engine='{"x":1}'), a.assign(engine="{}")
        )[0]
        == {}
    )


def test_predictions_differ_in_what_predicted_them() -> None:
    a = TRUTH.assign(simulator_version="2", db_version="0.12")
    b = a.assign(simulator_version="3", driver_version="590.2")
    assert differing(b, a, predicted=True)[0] == {"simulator_version": ("2", "3")}


def test_what_nobody_knows_is_told() -> None:
    assert unknown(pair(TRUTH, TRUTH)) == []
    assert unknown(pair(TRUTH, TRUTH.assign(driver_version=pd.NA, cuda_version="13"))) == [
        "driver_version",
        "cuda_version",
    ]

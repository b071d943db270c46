from __future__ import annotations

import pandas as pd
import pytest

from sweep.analysis import Verdict, compare
from sweep.analysis.direction import less_is_better
from sweep.errors import UsageError
from sweep.table import COLUMNS
from sweep.table.schema import Group, Type
from tests.standins import sweeps

LESS = {
    "effective_requests_failed",
    "energy_j",
    "evictions",
    "memory_errors_uncorrected",
    "power_w_per_gpu",
    "predicted_tpot_ms_p50",
    "predicted_ttft_ms_p50",
}
MORE = {
    "accepted_draft_tokens_mean",
    "acceptance_length_mean",
    "draft_acceptance_rate_mean",
    "output_tokens_per_j",
    "output_tput_per_gpu",
    "output_tput_tps",
    "predicted_output_tput_per_gpu",
    "predicted_output_tput_tps",
    "predicted_tps_per_user",
    "request_goodput_rps",
    "request_tput_rps",
    "total_tput_tps",
    "tps_per_user_e2e",
    "tput_per_gpu",
}


def wanted(name: str, group: Group) -> bool | None:
    """Whether less of a column of the table is better; None where neither is."""
    if name in LESS or "_ms_" in name or group is Group.TIME:
        return True
    if group is Group.COST and not name.startswith("gpus_"):
        return True
    return False if name in MORE or name.startswith("tps_per_user") else None


def test_every_number_of_the_table_has_a_direction_or_is_refused() -> None:
    for column in COLUMNS:
        if column.type in (Type.INTEGER, Type.DOUBLE, Type.BOOL):
            expected = wanted(column.name, column.group)
            if expected is None:
                with pytest.raises(UsageError, match=f"neither more nor less {column.name} is better"):
                    less_is_better(column.name)
            else:
                assert less_is_better(column.name) is expected, column.name


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("cost_usd_per_million_input_tokens", True),
        ("total_tokens_per_j", False),
        ("my_score", False),
        ("my_tokens_per_s", False),
        ("my_stall_s", True),
    ],
)
def test_columns_that_were_added_have_the_direction_of_their_unit(name: str, less: bool) -> None:
    assert less_is_better(name) is less


def test_a_sweep_that_takes_fewer_hours_is_faster() -> None:
    a = sweeps.measured(1, sweeps.points(shapes=1)).assign(gpu_hours=1.0)
    assert compare(a, a.assign(gpu_hours=0.5), metric="gpu_hours").verdict is Verdict.FASTER


def test_a_setting_is_no_metric_of_measurements_but_has_errors_of_prediction() -> None:
    a = sweeps.measured(1, sweeps.points(shapes=1)).assign(step_requests_mean=2.0)
    for metric in ("concurrency", "repeat", "step_requests_mean"):
        with pytest.raises(UsageError, match=f"neither more nor less {metric} is better"):
            compare(a, a, metric=metric)
    predicted: pd.DataFrame = a.assign(source="simulated", step_requests_mean=3.0)
    assert compare(a, predicted, metric="step_requests_mean").rows["ratio"].unique().tolist() == pytest.approx([1.5])

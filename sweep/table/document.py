"""The table's documentation, made from its schema; `python -m sweep.table > results/README.md` writes it."""

from __future__ import annotations

from sweep.failure import KINDS
from sweep.table.schema import COLUMNS, KEY, SCHEMA_VERSION, STATUSES, Group

_GROUPS = {
    Group.IDENTITY: "A row is one attempt: (`point_id`, `source`, `repeat`, `attempt`) of one `sweep_id`.",
    Group.SETTING: "What was asked for. Every one of them is part of `point_id`.",
    Group.EFFECTIVE: (
        "What the report itself states, in TensorRT-LLM's words. What differs from the settings makes a row invalid;"
        " `failure_message` then has every reason."
    ),
    Group.METRIC: (
        "Null without a report. TTFT, TPOT and `tps_per_user` need `streaming`. Percentiles are nearest-rank, as"
        " trtllm-bench computes them, and interpolated where `bench` is serve; p99 is null below 100 requests and p95"
        " below 20. A null one is at most the maximum, which then stands for it in an upper limit: of `sweep.best`, of"
        " `show --where`, and on the page."
    ),
    Group.TIME: "Where the time of an attempt went.",
    Group.COST: "Simulated rows held no GPU: they have neither GPU-hours nor cost.",
    Group.POWER: "Null unless every GPU that was used was read during the whole measurement.",
    Group.PREDICTION: "What NVIDIA's operator database led to expect; measured rows have it to compare.",
    Group.FAILURE: "Null where the status is ok.",
    Group.PROVENANCE: "What it ran on.",
}


def readme() -> str:
    """Return Markdown that explains every column: name, type, unit, meaning."""
    lines = [
        "# Results",
        "",
        "<!-- Generated from sweep/table/schema.py by `python -m sweep.table`; do not edit. -->",
        "",
        f"One folder per sweep. Its table has one row per attempt, failed ones too, and {len(COLUMNS)} typed columns;",
        f"this is schema version {SCHEMA_VERSION}.",
        "",
        "    results/NAME/table/part-*.parquet       the table",
        "    results/NAME/sweep.json                 the sweep's id",
        "    results/NAME/configs/HASH.yaml          the configurations that asked for the points",
        "    results/NAME/raw/POINT/REPEAT-ATTEMPT/  what a row was made from: report.json, env.json, log.txt, ...",
        "",
        "`python -m sweep import --reparse results/NAME` makes the rows again from raw/, after a parser or a rule was",
        "mended.",
        "",
        "Other files in table/ stay where they are, also when `python -m sweep compact` merges the parts; of rows that",
        "are the same in every column (a part was copied) it keeps one. If sweep.json is lost, the next run takes the",
        "sweep's id from the rows.",
        "",
        "## Reading it",
        "",
        "```python",
        "import sweep",
        "",
        'df = sweep.load("results/ds_r1_grid")     # ok rows; status="all" and attempts="all" give the others too',
        "front = sweep.pareto(df)                  # the best trade-offs of speed per user and throughput per GPU",
        "```",
        "",
        "or, with every attempt in it and without sweep:",
        "",
        "```python",
        "import pandas",
        "",
        'df = pandas.read_parquet("results/ds_r1_grid/table")',
        "```",
        "",
        "Both give the same dtypes: integers, booleans and texts are pandas' nullable `Int64`, `boolean` and `string`,",
        "times are UTC, floats are `float64` with NaN. Both work at any moment, also while a sweep is writing. Only a",
        "plain `pandas.read_parquet` that is under way when `python -m sweep compact` swaps the merged part in can",
        "raise FileNotFoundError: read again.",
        "",
        "A row that is not ok has no number that may be used, so that `sweep.load` leaves it out unless `status` asks",
        "for it; `pandas.read_parquet` does not. Of several attempts it gives the last; an ok row keeps its place",
        "where a later attempt (`run.redo`) failed or was left out, and loses it to a report that is invalid.",
        "",
        f"`sweep.load` recognises a repeat of a point by {', '.join(f'`{name}`' for name in KEY)}.",
        "",
        "Never draw measured and simulated rows in one line without saying so: `source` tells them apart.",
        "",
        "## Status",
        "",
        "| status | meaning |",
        "| --- | --- |",
        *(f"| `{status}` | {meaning} |" for status, meaning in STATUSES.items()),
    ]
    for group, about in _GROUPS.items():
        lines += ["", f"## {group.capitalize()}", "", about, "", "| column | type | unit | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning} |" for c in COLUMNS if c.group is group]
    lines += [
        "",
        "## Kinds of failures",
        "",
        "`failure_kind` of rows that are not ok, and what is done with the point.",
        "",
        "| kind | what happened | then |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {kind.meaning} | {kind.policy} |" for name, kind in KINDS.items()),
    ]
    return "\n".join(lines) + "\n"

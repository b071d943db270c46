"""Reports of trtllm-bench 0.16 to 1.4 and of benchmark_serving, as JSON and as text, become one type: Report.

    value.py          Report and Distribution
    trtllm_json.py    --report_json                            text.py      the printed report
    serving.py        benchmark_serving, JSON and text         energy.py    the energy lines of 1.3
    requests.py       per-request records: every metric again  agreement.py two accounts held against each other
    iterations.py     the engine's steps, in short             arguments.py what the engine dumped of its arguments
    log.py            a log as a stream                        streams.py   its writers, each behind a label
    evidence.py       all that a run left, weighed together
    consistency.py    what the figures of one report say of each other: rules, over the intervals of spans.py

What a report does not say is None, never guessed. Where the meaning of a figure changed between versions, the reason
for what is done stands at the top of the module that reads it.
"""

from sweep.report.evidence import Evidence, parse_report, weigh
from sweep.report.iterations import Iterations
from sweep.report.log import Log, read_log
from sweep.report.requests import parse_requests
from sweep.report.serving import parse_serving
from sweep.report.trtllm_json import parse_json
from sweep.report.value import Distribution, Report, Tool

__all__ = [
    "Distribution",
    "Evidence",
    "Iterations",
    "Log",
    "Report",
    "Tool",
    "parse_json",
    "parse_report",
    "parse_requests",
    "parse_serving",
    "read_log",
    "weigh",
]

"""What the figures of one report say of each other: a damaged one contradicts the others.

Every rule holds for any run, whatever its requests were like; none is a guess of what is usual. A rule asks only about
what the report states. Figures are taken as intervals of half their last printed digit, so that all rules hold for
JSON and for the printed report; what is computed from them is an interval too, and only a figure that lies outside is
a contradiction.

n requests, request i with ISL_i and OSL_i tokens, first token after TTFT_i, last one after E2E_i; with OSL_i > 1

    TPOT_i = (E2E_i - TTFT_i) / (OSL_i - 1)

(trtllm-bench: `tensorrt_llm/bench/dataclasses/statistics.py`; a request of one token has TPOT 0 there, and TTFT 0 if
it came in one piece). If a_i <= b_i for every request, the same is true of any statistic of a and b (mean, minimum,
each percentile): sorted, the a stay below the b. Most rules below are made of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from sweep.report.spans import FLOATING_POINT, LENGTHS, TWO_DECIMALS, Figures, Span, differs, exactly, figures_of
from sweep.report.value import DISTRIBUTIONS, Distribution, Report

MOST_DRAFTED = 64
"""Tokens that are drafted in one step; no model has as many."""

_ORDER = ("min", "p50", "p90", "p95", "p99", "max")
_STATS = ("mean", *_ORDER)
_SHARES = (("p50", 0.50), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99))


def contradictions(report: Report, osl: int | None = None) -> Iterator[str]:
    """Yield what the figures of a report cannot all be, one sentence each.

    osl: the length that every output was asked to have; None where they differ or that is not known.
    """
    if not (report.duration_s > 0 and report.num_requests > 0 and report.output_tput_tps > 0):
        return  # no tokens were produced, which is a reason of its own
    figures = figures_of(report, osl)
    if figures.requests < 1:
        yield f"of {report.num_requests} requests {report.requests_failed} failed, but there are tokens"
        return
    for rule in RULES:
        yield from rule(figures)


# -------------------------------------------------------------------------------------------------------- the rules


def throughputs_follow_from_requests(figures: Figures) -> Iterator[str]:
    """requests / duration; times OSL; times ISL + OSL; over tp * pp; and the goodput is a part of the requests.

    benchmark_serving counts only what succeeded, and its means are whole tokens over requests.
    """
    report, n, seconds = figures.report, exactly(figures.requests), figures.duration_s
    rate = n.over(seconds)
    yield from differs("request_tput_rps", figures.span("", report.request_tput_rps), rate, "requests over duration")
    isl, osl = (
        None if mean is None else exactly(mean) if figures.of_serving else figures.span("", mean)
        for mean in (report.isl_mean, report.osl_mean)
    )
    output = figures.span("", report.output_tput_tps)
    if osl is not None:
        yield from differs("output_tput_tps", output, rate.times(osl), "requests, OSL and duration")
        total = figures.of("total_tput_tps")
        if isl is not None and total is not None:
            yield from differs("total_tput_tps", total, rate.times(isl.plus(osl)), "requests, lengths and duration")
    per_gpu = figures.of("output_tput_per_gpu")
    if per_gpu is not None and report.tp and report.pp:
        expected = output.over(exactly(report.tp * report.pp))
        yield from differs("output_tput_per_gpu", per_gpu, expected, "output_tput_tps and tp * pp")
    goodput = figures.of("request_goodput_rps")
    if goodput is not None and goodput.low > figures.span("", report.request_tput_rps).high:
        yield f"request_goodput_rps is {report.request_goodput_rps:g}, more than all requests"


def requests_in_flight_fill_the_time(figures: Figures) -> Iterator[str]:
    """Little's law over the whole run: the sum of the latencies is mean in flight * duration.

    Where only the limit C of benchmark_serving is stated, the sum is at most C * duration. No request, and so no
    statistic of a part of one, is longer than the run.
    """
    report, n, seconds = figures.report, exactly(figures.requests), figures.duration_s
    milliseconds = seconds.times(exactly(1e3))
    latency = figures.of("e2el_ms", "mean")
    in_flight = figures.of("concurrency_mean")
    if in_flight is not None and latency is not None:
        expected = n.times(latency).over(milliseconds)
        yield from differs("concurrency_mean", in_flight, expected, "requests, mean latency and duration")
    least = latency or _latency_from_parts(figures) or figures.of("ttft_ms", "mean")
    limit = report.concurrency or report.num_requests
    if least is not None and figures.requests * least.low > limit * milliseconds.high:
        yield f"a mean latency of {least.low:.6g} ms is more than {limit} requests at a time have in the duration"
    for name in ("e2el_ms", "ttft_ms", "tpot_ms", "itl_ms"):
        distribution = getattr(report, name)
        longest = max((getattr(distribution, stat) or 0.0 for stat in _STATS), default=0.0) if distribution else 0.0
        if longest and figures.span(name, longest).low > milliseconds.high:
            yield f"{name} has {longest:.6g} ms in it, more than the run took"


def _latency_from_parts(figures: Figures) -> Span | None:
    ttft, tpot = figures.of("ttft_ms", "mean"), figures.of("tpot_ms", "mean")
    if ttft is None or tpot is None or figures.osl is None or figures.osl.low < 1:
        return None
    gaps = Span(figures.osl.low - 1, figures.osl.high - 1)
    return ttft.plus(gaps.times(tpot)) if gaps.low == gaps.high else None


def statistics_are_in_order(figures: Figures) -> Iterator[str]:
    """min <= p50 <= p90 <= p95 <= p99 <= max; the mean lies where these let it.

    Sorted, the values at the place of a percentile and below are at most that percentile, those from it on at least it.
    With each value replaced by the next statistic below (above), the mean is the least (the most) that it can be;
    n * mean >= (n - 1) * min + max is a part of that. Nearest rank and linear interpolation differ by one place: both
    are allowed for. Where the number of values is not known (tokens, requests of one token), half of them are at least
    the median.
    """
    report = figures.report
    for name in (*DISTRIBUTIONS, "[AR]"):
        distribution = _old_acceptance(report) if name == "[AR]" else getattr(report, name)
        if distribution is None:
            continue
        known = [(stat, value) for stat in _ORDER if (value := getattr(distribution, stat)) is not None]
        for (stat, value), (after, larger) in pairwise(known):
            if value > larger * (1 + FLOATING_POINT):
                yield f"{name}: {stat} is {value:.6g} and {after} {larger:.6g}"
        spans = {
            stat: figures.span("acceptance_length" if name == "[AR]" else name, value)
            for stat in _STATS
            if (value := getattr(distribution, stat)) is not None
        }
        if "mean" not in spans:
            continue
        count = report.dataset_requests or report.num_requests if name in LENGTHS else figures.requests
        if name == "itl_ms" or (figures.of_serving and name in ("tpot_ms", "acceptance_length")):
            allowed = Span(spans["p50"].low / 2 if "p50" in spans else 0.0, math.inf)
            yield from differs(f"{name} mean", spans["mean"], allowed, "the median")
        else:
            allowed = _mean_from(spans, count)
            yield from differs(f"{name} mean", spans["mean"], allowed, f"the percentiles of {count} values")


def _mean_from(spans: Mapping[str, Span], count: int) -> Span:
    """Return between what the order statistics of `count` values hold their mean."""
    at_least = [(0, spans["min"].low if "min" in spans else 0.0)]
    at_most = [(0, spans["min"].high)] if "min" in spans else []
    for stat, share in _SHARES:
        if stat in spans:
            first, last = _place(share, count)
            at_least.append((last, spans[stat].low))
            at_most.append((first, spans[stat].high))
    if "max" in spans:
        at_least.append((count - 1, spans["max"].low))
    at_most.append((count - 1, spans["max"].high if "max" in spans else math.inf))
    low = high = 0.0
    for (place, value), (after, _) in zip(at_least, [*at_least[1:], (count, 0.0)], strict=True):
        low += value * (after - place)
    before = -1
    for place, value in at_most:
        high += value * (place - before) if place > before else 0.0
        before = max(before, place)
    return Span(low / count, high / count)


def latencies_contain_first_token_and_decoding(figures: Figures) -> Iterator[str]:
    """E2E_i = TTFT_i + (OSL_i - 1) * TPOT_i.

    Always E2E_i >= TTFT_i. With g = OSL_i - 1 between g0 and g1, for every statistic S (see the top of this module)

        S(TTFT) + g0 * min TPOT <= S(E2E) <= S(TTFT) + g1 * max TPOT
        min TTFT + g0 * S(TPOT) <= S(E2E) <= max TTFT + g1 * S(TPOT)

    and for the mean, with G = mean OSL - 1 and TPOT_i between its minimum and maximum,

        G * min TPOT <= mean E2E - mean TTFT <= G * max TPOT,  = G * mean TPOT where all outputs have one length.
    """
    report = figures.report
    latency, ttft, tpot = report.e2el_ms, report.ttft_ms, report.tpot_ms
    if latency is None or ttft is None:
        return
    for stat in _STATS:
        whole, first = figures.of("e2el_ms", stat), figures.of("ttft_ms", stat)
        if whole is not None and first is not None and first.low > whole.high:
            yield f"ttft_ms {stat} is {getattr(ttft, stat):.6g}, more than e2el_ms {getattr(latency, stat):.6g}"
    if tpot is None or figures.osl is None or figures.osl.low <= 1:
        return
    gaps = Span(figures.osl.low - 1, figures.osl.high - 1)
    mean, parts = figures.of("e2el_ms", "mean"), _latency_from_parts(figures)
    if mean is not None and parts is not None:
        yield from differs("e2el_ms mean", mean, parts, "TTFT and TPOT")
    fastest, slowest = figures.of("tpot_ms", "min"), figures.of("tpot_ms", "max")
    first_min, first_max = figures.of("ttft_ms", "min"), figures.of("ttft_ms", "max")
    if fastest is None or slowest is None or first_min is None or first_max is None:
        return
    every_tpot, every_ttft = Span(fastest.low, slowest.high), Span(first_min.low, first_max.high)
    first = figures.of("ttft_ms", "mean")
    if mean is not None and first is not None and report.osl_mean is not None:
        decoding = figures.span("", report.osl_mean).minus(exactly(1)).times(every_tpot)
        yield from differs("e2el_ms mean", mean, first.plus(decoding), "mean TTFT, mean OSL and the range of TPOT")
    for stat in _STATS:
        whole, first, step = (figures.of(name, stat) for name in ("e2el_ms", "ttft_ms", "tpot_ms"))
        if whole is None or first is None or step is None:
            continue
        expected = first.plus(gaps.times(every_tpot))
        yield from differs(f"e2el_ms {stat}", whole, expected, f"TTFT's {stat} and the range of TPOT")
        expected = every_ttft.plus(gaps.times(step))
        yield from differs(f"e2el_ms {stat}", whole, expected, f"TPOT's {stat} and the range of TTFT")


def speed_is_one_over_time_per_token(figures: Figures) -> Iterator[str]:
    """The speed of request i is 1000 / TPOT_i, and tps_per_user is their mean. In 0.19 it is 1000 / mean TPOT."""
    report, tpot = figures.report, figures.report.tpot_ms
    if tpot is None or figures.of_serving:
        return
    stated, mean = figures.of("tps_per_user"), figures.of("tps_per_user_distribution", "mean")
    if stated is not None and mean is not None:
        yield from differs("tps_per_user", stated, mean, "the speeds of all requests")
    old = _number(report.extra.get("streaming_metrics.token_output_speed_tok_s", report.extra.get(_SPEED_OF_0_19)))
    if old is not None and (pace := figures.of("tpot_ms", "mean")) is not None:
        yield from differs("the speed per user", figures.span("", old), exactly(1e3).over(pace), "the mean TPOT")
    if tpot.min == 0 and (figures.osl is None or figures.osl.low <= 1):
        return  # requests of one token, which have neither
    speeds = report.tps_per_user_distribution or Distribution(mean=report.tps_per_user)
    yield from _reciprocal(figures, "tps_per_user", speeds, "tpot_ms", tpot, exactly(1e3))


def speed_with_prefill_is_tokens_over_latency(figures: Figures) -> Iterator[str]:
    """tps_per_user_e2e is the mean of OSL_i / E2E_i.

    It lies between mean OSL / max E2E and mean OSL / min E2E. Where all outputs have one length it is that times the
    mean of 1 / E2E, for which see _reciprocal. benchmark_serving may have no E2E: then TTFT + (OSL - 1) * TPOT is it.
    """
    report, latency = figures.report, figures.report.e2el_ms
    speed = figures.of("tps_per_user_e2e")
    if speed is None or report.osl_mean is None:
        return
    tokens = figures.span("", report.osl_mean).times(exactly(1e3))
    fastest, slowest = figures.of("e2el_ms", "min"), figures.of("e2el_ms", "max")
    if fastest is not None and slowest is not None:
        expected = tokens.over(Span(fastest.low, slowest.high))
        yield from differs("tps_per_user_e2e", speed, expected, "mean OSL and the range of E2E")
    if figures.osl is None or figures.osl.low != figures.osl.high:
        return
    if latency is not None:
        alone = Distribution(mean=report.tps_per_user_e2e)
        yield from _reciprocal(figures, "tps_per_user_e2e", alone, "e2el_ms", latency, tokens)
    elif (parts := _latency_from_parts(figures)) is not None:
        expected = Span(tokens.over(parts).low, math.inf)
        yield from differs("tps_per_user_e2e", speed, expected, "OSL, TTFT and TPOT")


def _reciprocal(
    figures: Figures, name: str, one: Distribution, other_name: str, other: Distribution, product: Span
) -> Iterator[str]:
    """Hold two figures against each other that are `product` together in every request.

    Sorted, the one is the other turned round. So min = product / max, and a percentile of the one lies between those
    that the places on the other side leave. For its mean, with a and b the minimum and maximum of the other and m its
    mean: 1/x is convex, so it lies above 1/m (Jensen) and below the chord from a to b, at (a + b - m) / (a * b).
    """
    spans = {stat: figures.span(other_name, v) for stat in _STATS if (v := getattr(other, stat)) is not None}
    mean = None if one.mean is None else figures.span(name, one.mean)
    if mean is not None and "mean" in spans:
        m = spans["mean"]
        low, high = product.over(m).low, math.inf
        if {"min", "max"} <= spans.keys():
            a, b = spans["min"], spans["max"]
            if a.low > 0:
                high = product.high * (a.low + b.high - m.low) / (a.low * b.high)
        yield from differs(f"{name} mean", mean, Span(low, high), f"{other_name}'s mean, minimum and maximum")
    if not {"min", "max"} <= spans.keys():
        return
    count = figures.requests
    places = [(0, 0, "min"), *((*_place(share, count), stat) for stat, share in _SHARES if stat in spans)]
    places.append((count - 1, count - 1, "max"))
    turned = {"min": (0, 0), "max": (count - 1, count - 1), **{stat: _place(share, count) for stat, share in _SHARES}}
    for stat, (first, last) in turned.items():
        value = getattr(one, stat)
        if value is None:
            continue
        first, last = count - 1 - last, count - 1 - first
        below = max((place for place in places if place[1] <= first), default=places[0])
        above = min((place for place in places if place[0] >= last), default=places[-1])
        expected = product.over(Span(spans[below[2]].low, spans[above[2]].high))
        yield from differs(f"{name} {stat}", figures.span(name, value), expected, f"{other_name}'s percentiles")


def _place(share: float, count: int) -> tuple[int, int]:
    """Return between which places of a sorted list a percentile lies, by nearest rank or interpolated."""
    nearest, exact = min(int(count * share), count - 1), share * (count - 1)
    return min(nearest, math.floor(exact)), max(nearest, math.ceil(exact))


def lengths_are_whole_and_add_up(figures: Figures) -> Iterator[str]:
    """Tokens are whole; ISL_i + OSL_i is the sequence, so with every statistic S

    S(ISL) + min OSL <= S(sequence) <= S(ISL) + max OSL,  S(OSL) + min ISL <= S(sequence) <= S(OSL) + max ISL,

    and the means add up.
    """
    report = figures.report
    isl, osl, seq_len = report.isl, report.osl, report.seq_len
    for name, lengths in (("isl", isl), ("osl", osl), ("seq_len", seq_len)):
        for stat in _ORDER:
            value = None if lengths is None else getattr(lengths, stat)
            if value is not None and not value.is_integer():
                yield f"{name} {stat} is {value:.6g}, which is not a number of tokens"
    if isl is None or osl is None or seq_len is None:
        return
    spans = {(name, stat): figures.of(name, stat) for name in LENGTHS for stat in _STATS}
    if any(span is None for span in spans.values()):
        return
    known: dict[tuple[str, str], Span] = {key: span for key, span in spans.items() if span is not None}
    expected = known["isl", "mean"].plus(known["osl", "mean"])
    yield from differs("seq_len mean", known["seq_len", "mean"], expected, "the means of ISL and OSL")
    every = {name: Span(known[name, "min"].low, known[name, "max"].high) for name in ("isl", "osl")}
    for stat in _ORDER:
        for name, other in (("isl", "osl"), ("osl", "isl")):
            expected = known[name, stat].plus(every[other])
            yield from differs(
                f"seq_len {stat}", known["seq_len", stat], expected, f"{name}'s {stat} and the range of {other}"
            )


def drafts_follow_from_steps(figures: Figures) -> Iterator[str]:
    """Of a request with s steps that draft D tokens each trtllm-bench (1.1 to 1.3) states

        drafted D * s,  accepted OSL - s,  rate accepted / drafted,  length OSL / s  =>  rate = (length - 1) / D,

    so that every statistic of the rate follows from that of the length, and mean drafted from mean accepted. Should
    another version count otherwise, these do not hold, nearly all of them at once; so what is told is only the few that
    do not hold for the D that the others agree on.
    """
    report = figures.report
    if any(getattr(report, name) is None for name in TWO_DECIMALS) or report.osl_mean is None:
        return
    fewest: list[str] | None = None
    for drafted in range(1, MOST_DRAFTED + 1):
        wrong = list(_drafts(figures, drafted, figures.span("", report.osl_mean)))
        if fewest is None or len(wrong) < len(fewest):
            fewest = wrong
        if not wrong:
            return
    if fewest is not None and len(fewest) <= MOST_WRONG:
        yield from fewest


MOST_WRONG = 3
"""Of the 15 statements of drafts_follow_from_steps, so many are wrong at most where one or two figures are damaged."""


def _drafts(figures: Figures, drafted: int, osl: Span) -> Iterator[str]:
    one = exactly(1)
    for stat in _STATS:
        rate, length = figures.of("draft_acceptance_rate", stat), figures.of("acceptance_length", stat)
        if rate is not None and length is not None:
            expected = length.minus(one).over(exactly(drafted))
            yield from differs(f"draft_acceptance_rate {stat}", rate, expected, "the acceptance length")
    for stat in _STATS:
        tokens, accepted = figures.of("draft_tokens", stat), figures.of("accepted_draft_tokens", stat)
        if tokens is None or accepted is None:
            continue
        steps = tokens.over(exactly(drafted))
        if stat == "mean":
            yield from differs("accepted_draft_tokens mean", accepted, osl.minus(steps), "OSL and the drafted tokens")
        elif not all(math.floor(span.high + 0.01) >= math.ceil(span.low - 0.01) for span in (tokens, accepted, steps)):
            yield f"draft_tokens {stat} is not a number of tokens"


def deviations_fit_the_run(figures: Figures) -> Iterator[str]:
    """No standard deviation is more than half of the range, and the range is within the run (Popoviciu)."""
    for figure in ("ttft", "tpot", "itl", "e2el") if figures.of_serving else ():
        deviation = _number(figures.report.extra.get(f"std_{figure}_ms"))
        if deviation is not None and figures.span("", deviation).low > figures.duration_s.high * 500:
            yield f"the standard deviation of {figure} is {deviation:.6g} ms, more than the run allows"


_SPEED_OF_0_19 = "Per User Output Speed [1/TPOT] (tokens/sec/user)"
_AR = {"min": "minimum", "max": "maximum", "mean": "average"}


def _old_acceptance(report: Report) -> Distribution | None:
    """Return what 0.20 and before state of speculation, which stands in `extra`."""
    if not report.extra:
        return None
    found = {}
    for stat in _STATS:
        key = _AR.get(stat, stat)
        value = report.extra.get(
            f"[AR] {key.upper()}", report.extra.get(f"decoding_stats.acceptance_percentiles.{key}")
        )
        if (number := _number(value)) is not None:
            found[stat] = number
    return Distribution(**found) if found else None


def _number(value: float | str | None) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except ValueError:
        return None


RULES: Sequence[Callable[[Figures], Iterator[str]]] = (
    throughputs_follow_from_requests,
    requests_in_flight_fill_the_time,
    statistics_are_in_order,
    latencies_contain_first_token_and_decoding,
    speed_is_one_over_time_per_token,
    speed_with_prefill_is_tokens_over_latency,
    lengths_are_whole_and_add_up,
    drafts_follow_from_steps,
    deviations_fit_the_run,
)

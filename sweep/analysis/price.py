"""What tokens cost, in dollars and in energy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sweep.analysis import rows as of
from sweep.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def cost(df: pd.DataFrame, price_per_gpu_hour: float | None = None) -> pd.DataFrame:
    """Return the rows with what a million tokens cost and how many tokens a joule gives.

    There is no default price: what a GPU costs is between you and your cloud. Without one, rows that were run with a
    price in their configuration keep it, and all others have NaN dollars. Costs are those of a steady state: GPUs that
    are held (`gpus_held`: all of a node, also where the engine uses a part of it; `gpus_used` where a run was imported
    and nobody knows) at the throughput of the row, start-up and idling not counted. Each of the three charges all of
    the price to its kind of tokens, as is usual, so they must not be added up. Energy is null unless every GPU that
    was used was read during the whole measurement. A predicted row has the cost that its prediction leads to; its
    `source` still says simulated. What cannot be (a price, GPUs or a throughput that are not positive, or infinite)
    gives null.

    Args:
        df: rows of `sweep.load` with `output_tput_tps`, `total_tput_tps` (tokens/s) and `gpus_held` or `gpus_used`.
        price_per_gpu_hour: USD per GPU and hour.

    Returns:
        A copy of df with the same rows and index, and these columns added or computed anew:
        `price_usd_per_gpu_hour`; `cost_usd_per_million_input_tokens`, `..._output_tokens`, `..._total_tokens`, in USD;
        `cost_usd`, what the measurement itself cost, where df has `gpu_hours`; `input_tokens_per_j` and
        `total_tokens_per_j`, in tokens per joule, where df has `output_tokens_per_j`.

    Raises:
        UsageError: df lacks a column, or it holds no numbers; the price is no positive number.

    Example:
        Eight GPUs at 3 USD an hour are 24 USD an hour; a million tokens/s are 3,600 millions an hour.

        >>> import pandas
        >>> df = pandas.DataFrame({"gpus_held": [8], "output_tput_tps": [2e5], "total_tput_tps": [1e6]})
        >>> cost(df, price_per_gpu_hour=3.0).filter(like="million").iloc[0].round(5).tolist()
        [0.00833, 0.03333, 0.00667]
    """
    import numpy as np
    import pandas as pd

    of.expect(df, ("output_tput_tps", "total_tput_tps"))
    if not {"gpus_held", "gpus_used"} & set(df.columns):
        of.expect(df, ("gpus_held",))
    if price_per_gpu_hour is not None and not _is_price(price_per_gpu_hour):
        raise UsageError(f"price_per_gpu_hour must be a positive number of USD, not {price_per_gpu_hour!r}")

    def numbers(name: str) -> pd.Series:
        return pd.Series(of.numbers(df, name) if name in df.columns else np.nan, index=df.index)

    def positive(name: str) -> pd.Series:
        values = numbers(name)
        return values.where(values > 0)

    if price_per_gpu_hour is None:
        price = positive("price_usd_per_gpu_hour")
    else:
        price = pd.Series(float(price_per_gpu_hour), index=df.index)
    gpus = numbers("gpus_held").fillna(numbers("gpus_used"))
    output, total = positive("output_tput_tps"), positive("total_tput_tps")
    rates = {"input": total - output, "output": output, "total": total}
    usd_per_s = price * gpus.where(gpus > 0) / 3600
    added = {"price_usd_per_gpu_hour": price}
    for kind, rate in rates.items():
        added[f"cost_usd_per_million_{kind}_tokens"] = usd_per_s / rate.where(rate > 0) * 1e6
    if "gpu_hours" in df.columns:
        added["cost_usd"] = numbers("gpu_hours") * price
    if "output_tokens_per_j" in df.columns:
        per_j = numbers("output_tokens_per_j")
        added |= {f"{kind}_tokens_per_j": per_j * rates[kind] / output for kind in ("input", "total")}
    return df.assign(**added)


def _is_price(value: Any) -> bool:
    return of.is_number(value) and 0 < value < math.inf

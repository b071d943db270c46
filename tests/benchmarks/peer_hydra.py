"""N no-op jobs under Hydra's multirun; run by overhead.py in the peers' environment.

python peer_hydra.py -m '+i=range(0,N)' hydra/launcher=basic|ray
"""

from __future__ import annotations

from typing import Any

import hydra


@hydra.main(version_base="1.3", config_path=None)
def job(cfg: Any) -> dict[str, float]:
    """Return 30 numbers, as many as a report has."""
    return {f"m{k}": float(cfg.i + k) for k in range(30)}


if __name__ == "__main__":
    job()

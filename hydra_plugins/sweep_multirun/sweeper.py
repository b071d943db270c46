"""Hydra accepts a Sweeper only from this namespace; ours is sweep.multirun."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from sweep import multirun


class OneSweep(multirun.OneSweep):
    """The Sweeper under the name that Hydra looks for."""


@dataclass
class OneSweepConfig:
    """`hydra/sweeper=sweep_multirun`."""

    _target_: str = "hydra_plugins.sweep_multirun.sweeper.OneSweep"


ConfigStore.instance().store(group="hydra/sweeper", name="sweep_multirun", node=OneSweepConfig, provider="sweep")

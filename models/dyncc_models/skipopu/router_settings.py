"""How routers are trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy


@dataclass(frozen=True)
class Settings:
    """How routers are trained.

    Attributes
    ----------
    policy
        KV policy of the decoder while it trains.
    skip
        Share of all executions of sublayers that is to be skipped, in 0..1; sublayers without a
        router count too.
    steps
        Steps, of one batch each.
    batch
        Windows of a step.
    ramp, soft
        Shares of the steps in which the goal rises to `skip`, and in which gates may be between 0
        and 1.
    rate
        Learning rate of Adam at its highest; it falls by a cosine.
    distilled
        Weight of the divergence from the dense decoder; the text's likelihood has the rest.
    seed
        Of the order of windows.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    policy: KvPolicy = KvPolicy.DENSE
    skip: float = 0.25
    steps: int = 1500
    batch: int = 1
    ramp: float = 0.4
    soft: float = 0.8
    rate: float = 2e-3
    distilled: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("skip", "ramp", "soft", "distilled"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.rate <= 0:
            raise ConfigError(f"rate must be positive, not {self.rate}")

    @property
    def json(self) -> str:
        """As text, with sorted names."""
        return json.dumps(asdict(self) | {"policy": self.policy.value}, sort_keys=True)

"""Sizes of a decoder, and what happens to the keys and values of tokens that skip attention."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dyncc.core.errors import ConfigError


class KvPolicy(Enum):
    """Keys and values of a token in a layer whose attention it skips.

    Attributes
    ----------
    DENSE
        Computed all the same.
    REUSE
        Those of the last layer whose attention the token ran: its keys were turned by the same
        position there. Layer 0 always runs.
    EVICT
        None: later tokens do not attend to it in this layer.
    """

    DENSE = "dense"
    REUSE = "reuse"
    EVICT = "evict"


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a Llama-style decoder with a tied output matrix.

    Attributes
    ----------
    width, hidden
        Numbers of a token between layers, and inside of the MLP.
    layers
        Number of layers.
    heads, kv_heads, head_size
        Query heads, key and value heads, and the numbers of each.
    vocabulary, context
        Tokens, and most positions.
    rope_base, eps
        Base of the rotary embedding; added to the mean square in norms.

    Raises
    ------
    ConfigError
        If sizes do not agree.
    """

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    rope_base: float = 10000.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in (
            "width", "hidden", "layers", "heads", "kv_heads", "head_size", "vocabulary", "context",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} heads do not share {self.kv_heads} key heads evenly")
        if self.head_size % 2:
            raise ConfigError(f"head_size must be even, not {self.head_size}")

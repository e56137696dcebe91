"""What a decoder on the overlay consists of: sizes, and the names of its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerPlan:
    """Names of a layer's weights; a router is None where the sublayer always runs."""

    norm_attention: str
    q: str
    k: str
    v: str
    output: str
    norm_mlp: str
    gate: str
    up: str
    down: str
    router_attention: str | None = None
    router_mlp: str | None = None


@dataclass(frozen=True)
class DecoderPlan:
    """A Llama-style decoder.

    Attributes
    ----------
    width, hidden, heads, kv_heads, head_size, vocabulary, context
        Sizes.
    rope_base, eps
        Base of the rotary embedding, and what norms add to the mean square.
    policy
        Of keys and values of tokens that skip attention: ``dense``, ``reuse`` or ``evict``.
    embedding, norm
        Names of the embedding and the last norm.
    layers
        In order.
    output
        Name of the output matrix; None if it is the embedding.
    """

    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    rope_base: float
    eps: float
    policy: str
    embedding: str
    norm: str
    layers: tuple[LayerPlan, ...]
    output: str | None = None

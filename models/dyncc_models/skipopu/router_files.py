"""Files of trained routers: weights, how they came about, and what they reach.

A file holds ``layers.N.router_attention.weight`` and ``layers.N.router_mlp.weight``, float16 of
shape (2, width), rows as in `llama`. Only the sign of the difference of a router's logits counts,
so each router is scaled to a largest magnitude of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dyncc.core.errors import ModelError
from dyncc.core.files import write_bytes
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.llama import SkipLlama, always
from dyncc_models.skipopu.perplexity import WINDOW, Score, perplexity


@dataclass(frozen=True)
class Routers:
    """What a file holds.

    Attributes
    ----------
    weights
        float16 of shape (2, width), by the name of the parameter of `SkipLlama`.
    record
        Other fields; ``policy`` is always among them.
    """

    weights: Mapping[str, Tensor]
    record: Mapping[str, str]

    @property
    def policy(self) -> KvPolicy:
        """The policy that they were trained for."""
        return KvPolicy(self.record["policy"])

    def load_into(self, model: SkipLlama) -> None:
        """Give a decoder these routers.

        Raises
        ------
        ModelError
            If a router is missing, or of another shape, or the decoder has no such router.
        """
        wanted = {name: value for name, value in model.named_parameters() if "router" in name}
        for name in sorted(wanted.keys() | self.weights.keys()):
            shape = tuple(wanted[name].shape) if name in wanted else None
            found = tuple(self.weights[name].shape) if name in self.weights else None
            if found != shape:
                raise ModelError(f"{name} has shape {found}, not {shape}")
        for name, value in wanted.items():
            value.data.copy_(self.weights[name])


def scaled(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are stored: float16, the largest magnitude of a router is one."""
    return {name: (value / value.abs().max()).half() for name, value in weights.items()}


def write(path: str | Path, routers: Routers) -> None:
    """Write a file under a temporary name, then rename it; raises ConfigError if it cannot be."""
    tensors = {name: value.contiguous() for name, value in routers.weights.items()}
    write_bytes(path, save(tensors, dict(routers.record)))


def read(path: str | Path) -> Routers:
    """Read a file.

    Raises
    ------
    ModelError
        If it is missing or damaged, or its policy is none.
    """
    try:
        with safe_open(path, "pt") as content:
            record = content.metadata() or {}
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"it cannot be read as routers: {error}", where=str(path)) from error
    policies = [policy.value for policy in KvPolicy]
    if record.get("policy") not in policies:
        raise ModelError(
            f"its policy is {record.get('policy')!r}, not one of {', '.join(policies)}",
            where=str(path),
        )
    return Routers(weights, record)


def measure(
    model: SkipLlama,
    tokens: Sequence[int],
    begin: int,
    policies: Sequence[KvPolicy] = tuple(KvPolicy),
    size: int = WINDOW,
    progress: Callable[[str, Score], None] | None = None,
    dense: float | None = None,
) -> dict[str, Any]:
    """Perplexity of a text with no sublayer skipped, and with routers under each policy.

    Parameters
    ----------
    model
        With routers; its policy is left as it was.
    tokens, begin, size
        See `perplexity.windows`.
    progress
        Called after every window, with what is being measured.
    dense
        Perplexity with nothing skipped, if it is known.

    Returns
    -------
    dict
        ``tokens``, ``window``, ``dense`` (perplexity with nothing skipped), and under ``routed``
        for each policy ``perplexity``, ``loss_percent`` against ``dense``, ``skip_rate``,
        ``kv_saved_percent`` and ``skipped``, the shares by layer for attention and MLP.
    """
    own = model.policy
    if dense is None:
        seen = _named(progress, "nothing skipped")
        dense = perplexity(model, tokens, begin, size, always, seen).perplexity
    found: dict[str, Any] = {
        "tokens": len(tokens), "window": size, "dense": dense, "routed": {},
    }  # fmt: skip
    try:
        for policy in policies:
            model.policy = policy
            seen = _named(progress, policy.value)
            score = perplexity(model, tokens, begin, size, progress=seen)
            saved = 0.0 if policy is KvPolicy.DENSE else 100 * score.kv_saved
            found["routed"][policy.value] = {
                "perplexity": score.perplexity,
                "loss_percent": 100 * (score.perplexity / dense - 1),
                "skip_rate": score.skip_rate,
                "kv_saved_percent": saved,
                "skipped": score.skipped.round(4).tolist(),
            }
    finally:
        model.policy = own
    return found


def _named(
    progress: Callable[[str, Score], None] | None, name: str
) -> Callable[[Score], None] | None:
    return None if progress is None else lambda score: progress(name, score)

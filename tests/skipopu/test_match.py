"""Programs of decoders are recognised, and what is not one is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyncc.backends.skipopu.match import match
from dyncc.backends.skipopu.plan import DecoderPlan, LayerPlan
from dyncc.core.errors import UnsupportedError
from dyncc.frontend import capture
from dyncc.passes import run_passes
from dyncc_models.skipopu import llama
from dyncc_models.skipopu.config import KvPolicy, LlamaConfig
from dyncc_models.skipopu.llama import SkipLlama

CONFIG = LlamaConfig(
    width=32, hidden=64, layers=3, heads=4, kv_heads=2, head_size=8, vocabulary=50, context=24
)


def plan_of(model: SkipLlama) -> DecoderPlan:
    """What the model is, by its own word."""
    config, layers = model.config, []
    for index, layer in enumerate(model.layers):
        weights = (
            "norm_attention", "attention.q", "attention.k", "attention.v", "attention.output",
            "norm_mlp", "mlp.gate", "mlp.up", "mlp.down",
        )  # fmt: skip
        routers = [
            f"layers.{index}.{name}.weight" if getattr(layer, name) is not None else None
            for name in ("router_attention", "router_mlp")
        ]
        layers.append(LayerPlan(*(f"layers.{index}.{name}.weight" for name in weights), *routers))
    return DecoderPlan(
        config.width, config.hidden, config.heads, config.kv_heads, config.head_size,
        config.vocabulary, config.context, config.rope_base, config.eps, model.policy.value,
        "embedding.weight", "norm.weight", tuple(layers),
    )  # fmt: skip


def found_in(model: nn.Module) -> DecoderPlan:
    captured = capture(model, (torch.tensor([3]), torch.tensor([0])), {}, "llm")
    weights = {name: tensor.detach().numpy() for name, tensor in captured.weights.items()}
    return match(run_passes(captured.program), weights)


@pytest.mark.parametrize("policy", KvPolicy)
@pytest.mark.parametrize("routed", [True, False])
def test_decoders_are_recognised(policy: KvPolicy, routed: bool) -> None:
    model = SkipLlama(CONFIG, routed, policy)
    expected = plan_of(model)
    # Where no token skips, there is nothing that a policy could say.
    assert found_in(model) == (expected if routed else replace(expected, policy="dense"))


def test_heads_of_their_own_and_another_base() -> None:
    model = SkipLlama(replace(CONFIG, kv_heads=4, rope_base=500.0, eps=1e-3), True)
    assert found_in(model) == plan_of(model)


def relu(x: Tensor) -> Tensor:
    return x.relu()


def halves(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the first half against the second, as other families of models do."""
    a, b = heads.chunk(2, -1)
    c, s = cosine[:, None], sine[:, None]
    return torch.cat((a * c - b * s, a * s + b * c), -1)


class Norm(nn.Module):
    """Subtracts the mean too."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        found: Tensor = self.weight * (
            x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        )
        return found


def change(module: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(module, name, value)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (change(llama.F, "silu", relu), "layer 2: DY901 SwiGLU: expected silu, found relu"),
        (change(llama, "rotate", halves), "layer 2: DY901 queries: expected view, found cat"),
        (
            change(llama, "RmsNorm", Norm),
            "the last layer: expected a sum, or one of two ways, found sub",
        ),
        (change(llama, "EXECUTE", 0), "it runs where row 1 is above row 0"),
    ],
    ids=["activation", "rotation", "norm", "router"],
)
def test_other_decoders_are_refused_with_their_layer(
    alter: Callable[[pytest.MonkeyPatch], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alter(monkeypatch)
    with pytest.raises(UnsupportedError, match=message):
        found_in(SkipLlama(CONFIG, True))


class Untied(SkipLlama):
    """Has an output matrix of its own."""

    def __init__(self) -> None:
        super().__init__(CONFIG)
        self.head = nn.Linear(CONFIG.width, CONFIG.vocabulary, bias=False)

    def forward(self, token: Tensor, position: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.embedding(token)))[0]
        return found


def test_other_structures_are_refused() -> None:
    with pytest.raises(
        UnsupportedError, match="the output matrix: it must be that of the embedding"
    ):
        found_in(Untied())

    class TwoResults(nn.Module):
        def forward(self, token: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
            return token, position

    with pytest.raises(UnsupportedError, match="logits of the one token: expected select"):
        found_in(TwoResults())

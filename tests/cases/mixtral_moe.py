"""The sparse block of Mixtral: a loop over the experts that the router chose for some token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

PACKAGE = "transformers"
FUNCTION = "MixtralSparseMoeBlock.forward"
WIDTH, TOKENS = 16, 3


def build() -> nn.Module:
    config = MixtralConfig(
        hidden_size=WIDTH, intermediate_size=24, num_local_experts=5, num_experts_per_tok=2
    )
    config._experts_implementation = "eager"
    block = MixtralSparseMoeBlock(config)
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Tokens that agree on two experts, and tokens that need up to five."""
    generator = torch.Generator().manual_seed(1)
    apart = [torch.randn(1, TOKENS, WIDTH, generator=generator) for _ in range(4)]
    return [(x,) for x in (*apart, apart[0][:, :1].expand(1, TOKENS, WIDTH).contiguous())]

"""The sparse block of Qwen2-MoE: experts that the router chose, and one that all tokens share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen2MoeConfig
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

PACKAGE = "transformers"
FUNCTION = "Qwen2MoeSparseMoeBlock.forward"
WIDTH, TOKENS = 16, 3


def build() -> nn.Module:
    config = Qwen2MoeConfig(
        hidden_size=WIDTH,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=16,
        num_experts=5,
        num_experts_per_tok=2,
    )
    config._experts_implementation = "eager"
    block = Qwen2MoeSparseMoeBlock(config)
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

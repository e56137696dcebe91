"""The sparse block of GPT-OSS: experts with biases, and with a gate of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import GptOssConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP

PACKAGE = "transformers"
FUNCTION = "GptOssMLP.forward"
WIDTH, TOKENS = 16, 3


def build() -> nn.Module:
    config = GptOssConfig(
        hidden_size=WIDTH, intermediate_size=8, num_local_experts=5, num_experts_per_tok=2
    )
    config._experts_implementation = "eager"
    block = GptOssMLP(config)
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

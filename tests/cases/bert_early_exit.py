"""Layers of BERT with an exit after each: the first whose prediction is sure enough is taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.masking_utils import create_bidirectional_mask

PACKAGE = "transformers"
FUNCTION = "BertModel"
WORDS, LENGTH, DEPTH = 64, 5, 4


class EarlyExit(nn.Module):
    """An encoder and a classifier for each of its layers, after DeeBERT (Xin et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(
            hidden_size=32,
            num_hidden_layers=DEPTH,
            num_attention_heads=2,
            intermediate_size=48,
            vocab_size=WORDS,
            initializer_range=0.5,
        )
        self.bert = BertModel(config)
        self.heads = nn.ModuleList(nn.Linear(32, 3) for _ in range(DEPTH))

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, int]:
        hidden = self.bert.embeddings(input_ids=words)
        attention = create_bidirectional_mask(
            config=self.bert.config, inputs_embeds=hidden, attention_mask=mask
        )
        depth = 0
        for layer, head in zip(self.bert.encoder.layer, self.heads, strict=True):
            depth += 1
            hidden = layer(hidden, attention)
            logits = head(hidden[:, 0])
            probabilities = logits.softmax(-1)
            if -(probabilities * probabilities.log()).sum() < 0.95:
                break
        return logits, depth


def build() -> nn.Module:
    torch.manual_seed(0)
    return EarlyExit().eval()


def example_inputs() -> tuple[Tensor, Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor, Tensor]]:
    """Sentences with and without padding."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for index in range(24):
        words = torch.randint(0, WORDS, (1, LENGTH), generator=generator)
        length = LENGTH if index % 2 else 2 + index % 3
        found.append((words, (torch.arange(LENGTH)[None] < length).long()))
    return found

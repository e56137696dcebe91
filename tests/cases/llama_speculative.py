"""Speculative decoding with two Llamas: a small one proposes words, a larger one corrects them.

The sequence is padded to its greatest length; no cache is kept.
"""

from __future__ import annotations

import torch
from cases.small_llama import llama
from torch import Tensor, nn

PACKAGE = "transformers"
FUNCTION = "LlamaForCausalLM.forward (two models)"
WORDS, PROMPT, LONGEST, AHEAD = 24, 3, 12, 2


class Speculative(nn.Module):
    """What the larger model would say, with fewer calls of it (Leviathan et al., 2023; greedy)."""

    def __init__(self) -> None:
        super().__init__()
        self.target = llama(WORDS, LONGEST + AHEAD + 1)
        self.draft = llama(WORDS, LONGEST + AHEAD + 1, layers=1)
        # A draft that agrees at times: it shares the words and the first layer.
        self.draft.model.embed_tokens = self.target.model.embed_tokens
        self.draft.lm_head = self.target.lm_head
        self.draft.model.layers[0] = self.target.model.layers[0]

    def forward(self, prompt: Tensor) -> tuple[Tensor, int, int]:
        words = nn.functional.pad(prompt, (0, LONGEST + AHEAD + 1 - PROMPT))
        length, calls = PROMPT, 0
        while length < LONGEST:
            for ahead in range(AHEAD):
                proposed = self.draft(input_ids=words, use_cache=False).logits
                words[0, length + ahead] = proposed[0, length + ahead - 1].argmax()
            said = self.target(input_ids=words, use_cache=False).logits.argmax(-1)
            calls += 1
            at, accepted = length - 1, 0
            while accepted < AHEAD and said[0, at + accepted] == words[0, at + accepted + 1]:
                accepted += 1
            words[0, length + accepted] = said[0, at + accepted]
            length += accepted + 1
        return words[:, :LONGEST], length, calls


def build() -> nn.Module:
    torch.manual_seed(0)
    return Speculative().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Prompts after which the draft is right never, sometimes and always."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randint(0, WORDS, (1, PROMPT), generator=generator),) for _ in range(8)]

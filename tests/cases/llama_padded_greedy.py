"""Greedy decoding with a Llama on a sequence padded to its greatest length, without cache."""

from __future__ import annotations

import torch
from cases.small_llama import llama
from torch import Tensor, nn

PACKAGE = "transformers"
FUNCTION = "LlamaForCausalLM.forward"
WORDS, PROMPT, LONGEST, END = 48, 3, 9, 2


class Greedy(nn.Module):
    """The most likely word, until the end or the greatest length is reached."""

    def __init__(self) -> None:
        super().__init__()
        self.llama = llama(WORDS, LONGEST)

    def forward(self, prompt: Tensor) -> tuple[Tensor, int]:
        words = nn.functional.pad(prompt, (0, LONGEST - PROMPT))
        length = PROMPT
        while length < LONGEST:
            logits = self.llama(input_ids=words, use_cache=False).logits
            word = logits[0, length - 1].argmax()
            words[0, length] = word
            length += 1
            if word == END:
                break
        return words, length


def build() -> nn.Module:
    torch.manual_seed(0)
    return Greedy().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Prompts, some of which end soon."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randint(3, WORDS, (1, PROMPT), generator=generator),) for _ in range(12)]

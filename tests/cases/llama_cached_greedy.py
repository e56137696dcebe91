"""Greedy decoding with a Llama whose cache of keys and values grows by a word in each turn."""

from __future__ import annotations

import torch
from cases.small_llama import llama
from torch import Tensor, nn

PACKAGE = "transformers"
FUNCTION = "LlamaForCausalLM.forward (DynamicCache)"
WORDS, PROMPT, LONGEST, END = 48, 3, 6, 2


class Greedy(nn.Module):
    """The most likely words after a prompt, until the end or the greatest number is reached."""

    def __init__(self) -> None:
        super().__init__()
        self.llama = llama(WORDS, PROMPT + LONGEST)

    def forward(self, prompt: Tensor) -> Tensor:
        output = self.llama(prompt, use_cache=True)
        words, count = [prompt], 0
        while count < LONGEST:
            word = output.logits[:, -1:].argmax(-1)
            words.append(word)
            count += 1
            if word == END:
                break
            output = self.llama(word, cache=output.cache, use_cache=True)
        return torch.cat(words, 1)


def build() -> nn.Module:
    torch.manual_seed(0)
    return Greedy().eval()


def example_inputs() -> tuple[Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    """Prompts, some of which end soon."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randint(3, WORDS, (1, PROMPT), generator=generator),) for _ in range(12)]

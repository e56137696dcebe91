"""pytorch-crf: a tagger whose Viterbi decoder walks back over sentences of different lengths."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchcrf import CRF  # type: ignore[import-untyped]

PACKAGE = "pytorch-crf"
FUNCTION = "CRF.decode"
WORDS, TAGS, LENGTH, SENTENCES = 30, 4, 6, 3


class Tagger(nn.Module):
    """Embeds words, and decodes the tags that fit best."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.recurrent = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(16, TAGS)
        self.crf = CRF(TAGS, batch_first=True)

    def forward(self, words: Tensor, mask: Tensor) -> list[list[int]]:
        states, _ = self.recurrent(self.embedding(words))
        tags: list[list[int]] = self.crf.decode(4 * self.scores(states), mask)
        return tags


def build() -> nn.Module:
    torch.manual_seed(0)
    return Tagger().eval()


def example_inputs() -> tuple[Tensor, Tensor]:
    return coverage_inputs()[0]


def coverage_inputs() -> list[tuple[Tensor, Tensor]]:
    """Sentences of many lengths."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for lengths in ((6, 3, 1), (1, 1, 1), (2, 5, 6), (4, 4, 4), (6, 6, 6), (1, 6, 2), (0, 2, 3)):
        words = torch.randint(WORDS, (SENTENCES, LENGTH), generator=generator)
        mask = torch.arange(LENGTH)[None, :] < torch.tensor(lengths)[:, None]
        found.append((words, mask))
    return found

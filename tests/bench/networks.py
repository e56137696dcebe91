"""Small networks whose paths are easy to say."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Exits(nn.Module):
    """Leaves at the first, the second, or the last of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for level, layer in enumerate(self.layers):
            if x[0, 0].item() < level:
                return x
            x = torch.relu(layer(x)) + x.abs()
        return self.last(x)


class Gates(nn.Module):
    """Runs each of three layers or skips it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        keep = x[0, :3]
        for index, layer in enumerate(self.layers):
            if keep[index].item() > 0:
                x = torch.tanh(layer(x))
        return self.last(x)


class Decoder(nn.Module):
    """Feeds the best word back until it is word 0."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.cell = nn.LSTMCell(4, 4)
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> tuple[list[int], Tensor, int]:
        hidden, cell = self.cell(x)
        token, words, logits = 1, [], []
        while len(words) < 6:
            hidden, cell = self.cell(self.embedding(torch.tensor([token])), (hidden, cell))
            scores = self.out(hidden) + x[0, 0] * len(words)
            logits.append(scores)
            token = int((scores * x.sum()).argmax())
            words.append(token)
            if token == 0:
                break
        return words, torch.stack(logits), len(words)


class Words(nn.Module):
    """Looks a number up that the data gives, as long as a counter, which it returns, says."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = []
        word = int(x.argmax(-1))
        for _ in range(3):
            seen.append(self.embedding(torch.tensor([word])))
            word = int((seen[-1].sum() * x[0]).argmax())
            if x[0, word].item() > 1.5:
                break
        return torch.cat(seen), torch.tensor(word)


def build() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Exits().eval()


def inputs(width: int, count: int) -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(1.5 * torch.randn(1, width, generator=generator),) for _ in range(count)]


def example_inputs() -> tuple[Tensor, ...]:
    return inputs(4, 1)[0]


def coverage_inputs() -> list[tuple[Tensor]]:
    return inputs(4, 12)

"""Tensors that grow in loops whose number of turns depends on data."""

from __future__ import annotations

from typing import Any

import torch
from frontend.differential import check, linear, network, rows
from torch import Tensor, nn

from dyncc.ir.hcfg import is_static
from dyncc.proof import prove


def embedding(count: int = 11, size: int = 4, seed: int = 0) -> nn.Embedding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Embedding(count, size)


def tokens(count: int = 12, length: int = 3) -> list[tuple[Tensor, int]]:
    """Prompts of shape (1, length), and up to how many tokens to go on."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randint(0, 11, (1, length), generator=generator), length + i % 7)
        for i in range(count)
    ]


def test_tokens_are_appended() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ids = torch.zeros(1, 1, dtype=torch.long)
        while ids.shape[1] < 6:
            chosen = (self.embed(ids).sum(1) + x).argmax(-1, keepdim=True)
            ids = torch.cat([ids, chosen], dim=1)
            x = self.layer(x)
            if x.abs().sum() > 9:
                break
        return ids, x

    program = check(network(forward, embed=embedding(4), layer=linear()))
    assert len(program.hcfg.blocks) < 8, "the loop is rolled"


class Attention(nn.Module):
    """Self-attention with a cache of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (linear(8, 8, seed) for seed in range(4))

    def forward(self, x: Tensor, past: Any) -> tuple[Tensor, Any]:
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, 2, d // 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        if past is not None:
            k = torch.cat([past[0], k], dim=2)
            v = torch.cat([past[1], v], dim=2)
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.o(mixed.transpose(1, 2).reshape(b, t, d)), (k, v)


def test_keys_and_values_are_cached() -> None:
    def forward(self: Any, ids: Tensor, limit: int) -> Tensor:
        past: list[Any] = [None for _ in self.layers]
        step = ids
        while ids.shape[1] < limit:
            x = self.embed(step)
            new = []
            for layer, kept in zip(self.layers, past, strict=False):
                y, cache = layer(x, kept)
                x = x + y
                new.append(cache)
            past = new
            step = self.head(x[:, -1]).argmax(-1, keepdim=True)
            ids = torch.cat([ids, step], dim=1)
            if ids.sum() % 7 == 3:
                break
        return ids

    layers = nn.ModuleList([Attention(), Attention()])
    module = network(forward, embed=embedding(size=8), layers=layers, head=linear(8, 11))
    program = check(module, tokens(30))
    proof = prove(module, program, tokens())
    assert proof.complete
    assert proof.forced.tally.values > 50


def test_masks_grow_with_what_they_mask() -> None:
    def forward(self: Any, x: Tensor, limit: int) -> tuple[Tensor, Tensor, int]:
        ids = self.start
        mask = torch.ones_like(ids)
        n = 0
        while True:
            length = ids.shape[1]
            causal = torch.tril(torch.ones(length, length, dtype=torch.bool))
            h = self.embed(ids) + self.places(torch.arange(length)) + x[:, None]
            scores = (h @ h.transpose(1, 2)).masked_fill(~causal, -1e9)
            scores = scores.masked_fill(mask[:, None, :] == 0, -1e9)
            step = self.head(scores.softmax(-1) @ h)[:, -1:].argmax(-1)
            ids = torch.cat((ids, step), -1)
            mask = torch.cat([mask, mask.new_ones((1, 1))], -1)
            n += 1
            if step[0, 0] == 3 or ids.size(1) >= limit:
                break
        return ids, mask, n

    start = torch.tensor([[1]])
    module = network(
        forward, embed=embedding(), places=embedding(32, 4, 1), head=linear(4, 11), start=start
    )
    check(module, [(x, 2 + i % 9) for i, (x,) in enumerate(rows(60))])


def test_what_grows_apart() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, ...]:
        a, b, c, n = x, x, x[:, :2], 4
        while x.abs().sum() < 30:
            x = x * 2 + 1
            a = torch.cat([a, a + 1], 1)
            b, c, n = torch.cat([b, x], 1), torch.cat([x, c], 1), n + 4
        return a, b, c, n, b.reshape(-1, 4)[: c.shape[1]], torch.zeros(b.shape[1]) + b

    check(network(forward))


def test_what_does_not_grow_keeps_its_size() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x if x.mean() > 0 else torch.cat([x, x], 1)
        while y.abs().sum() < 30:
            y = y * 2 + 1
        return y

    program = check(network(forward))
    assert all(is_static(region) for region in program.hcfg.regions.values())


def test_ends_of_what_grows() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x[0]
        for _ in range(int((x > 0).sum())):
            grown = y
            while y.sum() < 1:
                y = y + 0.5
                grown = torch.cat([grown, y])
            y = grown[-4:] * 0.5
            x = torch.tanh(x + grown.flip(0)[:4])
        return y

    check(network(forward))


def test_a_vector_of_no_elements_is_skipped_by_cat() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        rows = torch.tensor([])
        if x.sum() > 0:
            rows = torch.cat([rows, x])
        return torch.cat([rows, torch.tensor([]), x])

    program = check(network(forward))
    joined = [
        op for r in program.hcfg.regions.values() for op in r.ops if op.target == "aten.cat.default"
    ]
    # No back end is asked to join tensors of several numbers of dimensions.
    assert joined
    assert all(len({len(v.type.shape) for v in op.args[0]}) == 1 for op in joined)

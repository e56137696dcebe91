"""Random numbers: the compiled network takes those that eager PyTorch would take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from frontend.differential import linear, network
from torch import Tensor, nn
from torch.nn import functional

import dyncc
from dyncc.core.errors import UnsupportedError
from dyncc.ir.hcfg import DEFAULT_GENERATOR
from dyncc.proof import prove
from dyncc.runtime.program import Program

X = torch.linspace(-1, 2, 12).reshape(3, 4)
Draw = Callable[..., Any]


def both(module: nn.Module, program: Program, *args: Any) -> tuple[Any, Any]:
    """The results of both, which start from the same numbers and must leave the same behind."""
    start = torch.get_rng_state()
    there, here = copy.deepcopy(args), copy.deepcopy(args)
    with torch.no_grad():
        expected = module(*there)
    after = torch.get_rng_state()
    torch.set_rng_state(start)
    found = program(*here)
    assert torch.equal(torch.get_rng_state(), after)
    for left, right in zip(there, here, strict=True):
        if isinstance(left, torch.Generator):
            assert torch.equal(left.get_state(), right.get_state())
    return expected, found


DRAWS: dict[str, Draw] = {
    "rand": lambda x: torch.rand(2, 3),
    "rand of a dtype": lambda x: torch.rand(3, dtype=torch.float64),
    "rand_like": lambda x: torch.rand_like(x),
    "randn": lambda x: torch.randn(40),  # sixteen at a time, where there are so many
    "randint": lambda x: torch.randint(3, 9, (5,)),
    "randint_like": lambda x: torch.randint_like(x, 7),
    "randperm": lambda x: torch.randperm(6),
    "multinomial": lambda x: torch.multinomial(x.softmax(-1), 2),
    "multinomial with replacement": lambda x: torch.multinomial(x.softmax(-1), 9, True),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "bernoulli in place": lambda x: x.clone().bernoulli_(),
    "poisson": lambda x: torch.poisson(x.abs()),
    "normal": lambda x: torch.normal(x, x.abs() + 1),
    "normal in place": lambda x: x.clone().normal_(2, 3),
    "a part in place": lambda x: x.clone()[1].uniform_(),
    "exponential": lambda x: x.new_empty(3).exponential_(2.0),
    "geometric": lambda x: x.new_empty(3).geometric_(0.3),
    "dropout": lambda x: functional.dropout(x, 0.5),
    "dropout of channels": lambda x: functional.dropout1d(x, 0.4),
    "alpha dropout": lambda x: functional.alpha_dropout(x, 0.3, training=True),
    "gumbel": lambda x: functional.gumbel_softmax(x, hard=True),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x, x, dropout_p=0.3),
    "initialiser": lambda x: nn.init.xavier_uniform_(x * 2),
    "distribution": lambda x: torch.distributions.Normal(0.0, 1.0).rsample((3,)),
    "of a size that depends on data": lambda x: torch.rand(int((x > 0).sum()) + 1),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name: str) -> None:
    def forward(self: Any, x: Tensor) -> tuple[Any, Tensor]:
        return self.draw(x), torch.rand(2)

    module = network(forward, draw=DRAWS[name])
    program = dyncc.compile(module, (X,), backend="eager")
    for _ in range(3):
        expected, found = both(module, program, X)
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])


class Sampler(nn.Module):
    """Draws from all kinds of generators, in loops and branches that depend on what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = linear(), nn.Dropout(0.3)
        self.own = torch.Generator().manual_seed(7)

    def forward(self, x: Tensor, generator: torch.Generator) -> Any:
        turns = 0
        while torch.rand(()) < 0.7 and turns < 20:
            x = torch.relu(self.layer(x)) + torch.randn(4, generator=generator)
            turns += 1
        if x.sum() > 0:
            x = x + torch.bernoulli(torch.full((4,), 0.5), generator=self.own)
        x = self.drop(x)
        torch.rand(3)  # nobody needs these
        return x, turns, torch.multinomial(x.softmax(-1), 2)


@pytest.mark.parametrize("backend", ["eager", "tvm"])
def test_generators_of_all_kinds(backend: str, tmp_path: Path) -> None:
    module = Sampler()
    example = (torch.ones(4), torch.Generator())
    dyncc.compile(module, example, tmp_path / "sampler.dyncc", backend)
    program = dyncc.load(tmp_path / "sampler.dyncc")
    reference = copy.deepcopy(module)
    turns = set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for seed in range(12):
            generator = torch.Generator().manual_seed(seed)
            expected, found = both(reference, program, torch.randn(4), generator)
            torch.testing.assert_close(found, expected)
            turns.add(found[1])
        assert len(turns) > 3
        assert torch.equal(torch.as_tensor(program.state()["own.state"]), reference.own.get_state())
        proof = prove(module, program, [example] * 3)
    assert not proof.unreached
    assert proof.forced.count


def test_a_network_without_draws_has_no_generator() -> None:
    module = network(lambda self, x: functional.dropout(x, 0.5, training=False))
    program = dyncc.compile(module, (X,), backend="eager")
    assert not program.hcfg.state


def test_the_state_of_a_generator_is_that_of_the_call() -> None:
    program = dyncc.compile(
        network(lambda self, x: torch.rand(2) + x), (torch.zeros(2),), backend="eager"
    )
    assert [slot.name for slot in program.hcfg.state] == [DEFAULT_GENERATOR]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        assert torch.equal(program(torch.zeros(2)), expected)
        assert not torch.equal(program(torch.zeros(2)), expected)


OUTSIDE = torch.Generator()


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda x: torch.rand(3, generator=OUTSIDE), "neither the module's nor an argument"),
        (lambda x: torch.rand(3, generator=torch.Generator()), "a call of `Generator`"),
        (lambda x: torch.manual_seed(0), "a call of `manual_seed`"),
        (lambda x: torch.seed(), "a call of `seed`"),
        (lambda x: torch.get_rng_state(), "a call of `get_rng_state`"),
        (lambda x: OUTSIDE.initial_seed(), "a call of `Generator.initial_seed`"),
        (lambda x: torch.rand_like(x.t()), "the order in which a tensor is stored"),
        (lambda x: x.t().clone().normal_(), "the order in which a tensor is stored"),
        (lambda x: functional.rrelu(x, training=True), "it draws random numbers"),
    ],
)
def test_what_is_refused(draw: Draw, text: str) -> None:
    module = network(lambda self, x: self.draw(x), draw=draw)
    with pytest.raises(UnsupportedError) as caught:
        dyncc.compile(module, (X,), backend="eager")
    assert text in str(caught.value)


def test_an_order_that_another_block_made_is_not_forgotten() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x.t() * 2
        if x.sum() > 0:
            y = y + 1
        return torch.rand_like(y)

    with pytest.raises(UnsupportedError, match="the order in which a tensor is stored"):
        dyncc.compile(network(forward), (X,), backend="eager")

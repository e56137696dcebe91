"""Sizes of arguments that may differ from call to call: ranges and names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from frontend.differential import check as check_static
from frontend.differential import linear, network, rows
from torch import Tensor, nn

import dyncc
from dyncc.core.errors import ConfigError, InputError, UnsupportedError
from dyncc.ir.hcfg import is_static
from dyncc.ir.sizes import Size, parse_shape
from dyncc.proof import prove
from dyncc.runtime.program import Program
from dyncc.verification import compare


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(
    module: nn.Module, shapes: dict[str, str], inputs: list[tuple[Tensor, ...]], untaken: int = 0
) -> Program:
    """Compile for the first input, and prove all paths on all inputs."""
    program = dyncc.compile(module.eval(), inputs[0], backend="eager", sizes=shapes)
    compare(module, program, inputs)
    proof = prove(module, program, inputs)
    assert len(proof.edges) - proof.taken() == untaken, proof.unreached
    return program


def test_branches_on_sizes() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.layer(x)
        if x.shape[0] > 3:
            y = y * 2
        if y.mean() > 0:
            return y.softmax(-1), x.shape[0], x.numel()
        return y.sum(0), x.size(0) * 2

    inputs = [(normal(n, 4, seed=n),) for n in (2, 1, 3, 5, 8)]
    program = check(network(forward, layer=linear()), {"x": "1..8,4"}, inputs)
    assert "x_0" in str(program.hcfg.signature)
    assert program.manifest["sizes"] == {"x_0": [1, 8]}
    with pytest.raises(InputError, match=r"x_0 is 9, and the network was compiled for 1\.\.8"):
        program(normal(9, 4))
    with pytest.raises(InputError, match=r"expected float32\[x_0,4\], got float32\[2,5\]"):
        program(normal(2, 5))


def test_images() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.layer(F.adaptive_avg_pool2d(y, 1).flatten(1)), y.mean(0)

    module = network(forward, conv=nn.Conv2d(3, 4, 3, padding=1), layer=linear())
    inputs = [(normal(n, 3, h, w),) for n, h, w in ((2, 8, 8), (1, 5, 9), (6, 16, 3))]
    check(module, {"x": "N=1..6,3,H,W"}, inputs)


def test_sizes_of_one_name_are_equal() -> None:
    def forward(self: Any, x: Tensor, m: Tensor) -> tuple[Tensor, ...]:
        found = []
        for i in range(x.shape[0]):
            found.append(x[i] * m[i])  # noqa: PERF401 the loop is what is tested
        return torch.stack(found), x * m[:, None], (x @ x.T).softmax(-1)

    inputs = [(normal(n, 4), normal(n)) for n in (4, 1, 2, 7)]
    program = check(network(forward), {"x": "T,4", "m": "T"}, inputs)
    with pytest.raises(InputError, match="the size T is 3 here and 2 in x"):
        program(normal(2, 4), normal(3))


def test_attention() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (f(x).view(b, t, 2, c // 2).transpose(1, 2) for f in self.maps)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(b, t, c)

    module = network(forward, maps=nn.ModuleList([linear(seed=i) for i in range(3)]))
    inputs = [(normal(b, t, 4),) for b, t in ((2, 3), (1, 1), (3, 2), (1, 7))]
    check(module, {"x": "B,T,4"}, inputs)


def test_loops_over_sizes() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            state = torch.tanh(self.layer(state) + x[:, t])
            if state.abs().max() > 0.9:
                break
        return state, self.last(state)

    module = network(forward, layer=linear(), last=linear(4, 2))
    inputs = [(normal(b, t, 4, seed=t) * 0.5,) for b, t in ((2, 3), (1, 1), (3, 2), (1, 7))]
    program = check(module, {"x": "B,T,4"}, inputs)
    assert len(program.hcfg.blocks) < 10


def test_arguments_in_structures() -> None:
    def forward(self: Any, batch: dict[str, Any]) -> Tensor:
        x: Tensor = batch["x"][0]
        return x.sum(0) + batch["y"]

    examples = [({"x": [normal(n, 4)], "y": normal(4)},) for n in (3, 1, 5)]
    program = dyncc.compile(
        network(forward), examples[0], backend="eager", sizes={"batch['x'][0]": "1..5,4"}
    )
    compare(network(forward), program, examples)


def test_with_tvm() -> None:
    def forward(self: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if y.sum() > 0:
            y = self.layer(y)
        return torch.relu(self.layer(x)), y.tanh()

    module = network(forward, layer=linear())
    inputs = [(normal(n, 4), normal(2, 4, seed=n)) for n in (3, 1, 5, 6)]
    program = dyncc.compile(module, inputs[0], sizes={"x": "1..8,4"})
    report = program.manifest["report"]
    assert report["torch"], "regions with such sizes run in PyTorch"
    assert report["regions"], "all others are compiled"
    compare(module, program, inputs)


def test_with_tvm_and_nothing_for_it() -> None:
    module = network(lambda self, x: x * 2)
    program = dyncc.compile(module, (normal(3),), sizes={"x": "N"})
    compare(module, program, [(normal(3),), (normal(5),)])


def test_without_names_all_is_known() -> None:
    program = check_static(network(lambda self, x: x.reshape(-1) * x.shape[0]), rows(2))
    assert all(is_static(region) for region in program.hcfg.regions.values())
    assert program.manifest["sizes"] == {}


@pytest.mark.parametrize(
    ("text", "dims", "sizes"),
    [
        ("1..8, 3, H, W", ("x_0", 3, "H", "W"), {"x_0": Size(1, 8), "H": Size(), "W": Size()}),
        ("N=2..,N", ("N", "N"), {"N": Size(2, None)}),
        ("", (), {}),
        ("0..4", ("x_0",), {"x_0": Size(0, 4)}),
    ],
)
def test_shapes(text: str, dims: Any, sizes: Any) -> None:
    assert parse_shape(text, "x") == (dims, sizes)


@pytest.mark.parametrize("text", ["a-b", "N=3", "u3", "8..1", "-1", "1...3", "N=1..2,N=3..4"])
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_shape(text, "x")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": "N"}, "there is no tensor z among the arguments"),
        ({"x": "N"}, r"the example of x has the shape \[2, 4\], which is none of \[N\]"),
        ({"x": "N,5"}, "which is none of"),
        ({"x": "3..,4"}, "which is none of"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dyncc.compile(network(lambda self, x: x), (normal(2, 4),), backend="eager", sizes=shapes)


def test_what_is_refused() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.linspace(0, 1, x.shape[0])

    with pytest.raises(UnsupportedError, match="it decides by the size of a tensor"):
        dyncc.compile(network(forward), (normal(3),), backend="eager", sizes={"x": "N"})

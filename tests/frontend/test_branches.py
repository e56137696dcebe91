"""Decisions: if and elif, conditional expressions, boolean operators, and what counts as true."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from frontend.differential import branches, check, linear, network, rows
from torch import Tensor, nn


def test_if_else() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x.mean() > 0:
            y = self.left(x)
        else:
            y = self.right(x)
        return y + 1

    program = check(network(forward, left=linear(seed=1), right=linear(seed=2)))
    assert branches(program) == 1
    # Both sides are the same sub-network with other weights, and then meet again.
    calls = [op for block in program.hcfg.blocks.values() for op in block.ops]
    assert len(calls) > len(program.hcfg.regions)


def test_if_without_else() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = x * 2
        if (x > 0).all():
            y = y + x
        return y

    check(network(forward))


def test_elif_chain() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        total = x.sum()
        if total > 4:
            return x + 1
        if total > 1:
            return x + 2
        if total > -1:
            return x + 3
        return x + 4

    assert branches(check(network(forward))) == 3


def test_nested() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x[0, 0] > 0:
            if x[0, 1] > 0:
                y = x.exp()
            else:
                y = x.sin()
            z = y + 1
        else:
            z = x
        return z * 2

    check(network(forward), rows(60))


def test_a_branch_on_static_values_is_decided_at_compile_time() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if self.deep and x.shape[1] == 4 and not self.training:
            x = self.layer(x)
        return x.relu()

    module = network(forward, deep=True, layer=linear())
    assert len(check(module).hcfg.blocks) == 1


def test_conditional_expression() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        scale = 2.0 if x.mean() > 0 else 0.5
        return (x if x.max() > 1 else -x) * scale

    check(network(forward))


def test_and_or_not_evaluate_no_more_than_python_does() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        count = 0
        if x[0, 0] > 0 and not x[0, 1] > 0:
            count += 1
        if x[0, 2] > 0 or x[0, 3] > 0:
            count += 10
        return x + count

    check(network(forward), rows(80))


def test_and_and_or_give_operands() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = int(x.sum()) or 7
        m = int(x[0, 0]) and 3
        return x * n + m

    check(network(forward))


def test_chained_comparison() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if -1 < x.mean() < 1:
            return x
        return x / 2

    check(network(forward))


def test_item_and_conversions() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        mean = x.mean().item()
        whole = int(x.sum())
        real = float(x[0, 0]) * 2
        if bool(x[0, 1] > 0) and mean > -0.5:
            whole = -whole
        return x + mean, whole, real, whole % 3, whole // 2, abs(real), -whole

    check(network(forward), rows(60))


@pytest.mark.parametrize("reduce", ["any", "all"])
def test_any_and_all_as_conditions(reduce: str) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        mask = x > 0.3
        if getattr(mask, self.reduce)():
            return x.tanh()
        return x.sigmoid()

    check(network(forward, reduce=reduce))


def test_a_tensor_of_one_element_is_a_condition() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if x[:, 0] > 0:
            return x + 1
        return x

    check(network(forward))


def test_truth_of_numbers() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = int(x[0, 0])
        if n:
            return x * n
        return x

    check(network(forward))


def test_argmax_chooses_a_case() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        k = int(x.argmax())
        if k == 0:
            return x.relu()
        if k in (1, 2):
            return x.neg()
        return x * k

    check(network(forward), rows(60))


def test_mixture_of_experts_by_module_list_index() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        k = int(self.gate(x).argmax())
        return self.experts[k](x) + 1

    experts = nn.ModuleList([linear(seed=s) for s in range(4)])
    module = network(forward, gate=linear(seed=9), experts=experts)
    # The edge that is not taken leads to IndexError.
    program = check(module, rows(80), untaken=1)
    # One program serves all experts.
    assert len(program.hcfg.regions) <= 3


def test_early_return_from_several_places() -> None:
    def forward(self: Any, x: Tensor) -> tuple[Tensor, int]:
        x = self.a(x).relu()
        if x.max() < 0.5:
            return x, 0
        x = self.b(x).relu()
        if x.max() < 1.0:
            return x, 1
        return self.c(x), 2

    check(network(forward, a=linear(seed=1), b=linear(seed=2), c=linear(seed=3)), rows(80))


def test_assert_and_raise_are_kept() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        assert x.abs().max() < 1000, "too large"
        if torch.isnan(x).any():
            raise ValueError("not a number")
        return x + 1

    program = check(network(forward), untaken=2)
    with pytest.raises(AssertionError, match="too large"):
        program(torch.full((1, 4), 5000.0))
    with pytest.raises(AssertionError):
        program(torch.full((1, 4), float("nan")))  # as in eager: the comparison is false first


def test_raise_on_data() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        n = int(x.sum())
        if n > 100:
            raise ValueError(f"sum {n} exceeds {100}")
        return x

    program = check(network(forward), untaken=1)
    with pytest.raises(ValueError, match="sum 400 exceeds 100"):
        program(torch.full((1, 4), 100.0))


def test_is_none_and_isinstance_are_static() -> None:
    def forward(self: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            x = x * mask
        if isinstance(x, torch.Tensor) and self.shift is None:
            x = x + 1
        return x

    module = network(forward, shift=None)
    assert len(check(module).hcfg.blocks) == 1
    masked = [(x, torch.ones(1, 4)) for (x,) in rows(3)]
    assert len(check(module, masked).hcfg.blocks) == 1


def test_where_and_masks_stay_inside_a_region() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = torch.where(x > 0, x, x * 0.1)
        return y.masked_fill(y > 1, 1.0)

    assert len(check(network(forward)).hcfg.blocks) == 1


def test_a_name_bound_by_a_condition() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if (total := x.sum()) > 0:
            return x / total
        return x - total

    check(network(forward))

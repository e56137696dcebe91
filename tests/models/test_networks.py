"""The networks: shapes, determinism, and inputs that take both sides of every decision."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from models.branches import decisions_of, recorded
from models.small import Small
from torch import Tensor, nn

from dyncc_models import NETWORKS, dycl
from dyncc_models.dycl import sdn, skipnet

IMAGE = (1, 3, 32, 32)
INPUT_SHAPES = {
    "shallow_deep": (1, 1, 8, 8),
    "halting": (1, 16),
    "pointer_network": (1, 10, 2),
    **{f"dycl.{name}": IMAGE for name in dycl.NETWORKS},
    "dycl.captioning": (1, 32),
    "dycl.captioning_attention": (1, 9, 32),
}
#: Elements of all parameters at full size, in millions, computed by hand from the publications'
#: layers or, for residual networks, stated there: ResNet-56 has 0.85, ResNet-110 1.7.
MILLIONS = {
    "sdn_mobilenet": (3.2, 3.7),
    "sdn_vgg": (15.0, 15.8),
    "sdn_resnet": (0.85, 0.95),
    "sdn_wideresnet": (7.4, 7.8),
    "skipnet": (1.0, 1.2),
    "skipnet_recurrent": (0.55, 0.6),
    "captioning": (13.0, 14.0),
    "captioning_attention": (20.0, 22.0),
    "blockdrop": (1.75, 1.9),
}
#: Decisions of one call with distinct places: early exits; loop; loop and stop.
PLACES = {"shallow_deep": 3, "halting": 1, "pointer_network": 2}
SEEDS = (0, 1)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.no_grad():
        yield


def flat(value: Any) -> list[Any]:
    """List the leaves of nested lists and tuples, tensors as nested lists."""
    if isinstance(value, Tensor):
        return [value.dtype, value.tolist()]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def check_output(name: str, output: Any) -> None:
    """Check types, shapes and ranges that the docstring of a forward method promises."""
    if name.startswith(("dycl.skipnet", "dycl.blockdrop")):
        assert output.shape == (1, 10)
        return
    first, second, *rest = output
    if name == "shallow_deep":
        assert first.shape == (1, 10)
        assert second in range(4)
    elif name.startswith("dycl.sdn"):
        assert first.shape == (1, 10)
        assert second in range(6 if name == "dycl.sdn_mobilenet" else 7)
        assert isinstance(rest[0], bool)
    elif name == "halting":
        (ponder,) = rest
        assert first.shape == (1, 8)
        assert 1 <= second <= 10
        assert ponder.shape == (1, 1)
        assert second <= ponder.item() <= second + 1
    elif name == "pointer_network":
        assert len(set(first)) == len(first)
        assert set(first) <= set(range(10))
        assert second.shape == (min(len(first) + 1, 10),)
        assert (second <= 0).all()
    else:
        assert 1 <= len(first) <= 20
        assert second.shape == (len(first), 1, 60)
        assert second.argmax(-1).flatten().tolist() == first
        assert 1 not in first[:-1]
        for weights in rest:
            assert weights.shape == (len(first), 1, 9)
            assert torch.allclose(weights.sum(-1), torch.ones(len(first), 1))


def test_the_list_of_networks_is_complete() -> None:
    assert set(NETWORKS) == set(INPUT_SHAPES)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_as_documented(name: str) -> None:
    module = Small(name)
    network = module.build()
    assert isinstance(network, nn.Module)
    assert not any(part.training for part in network.modules())
    inputs = [module.example_inputs(), *module.coverage_inputs()]
    assert 1 < len(inputs) <= 49
    for arguments in inputs:
        (argument,) = arguments
        assert argument.shape == INPUT_SHAPES[name]
        assert argument.dtype == torch.float32
        assert argument.untyped_storage().nbytes() == argument.nbytes  # no views of a batch
        output = network(*arguments)
        check_output(name, output)
        assert all(torch.isfinite(leaf).all() for leaf in _tensors(output))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for item in value for leaf in _tensors(item)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_gives_one_network_and_leaves_the_random_state_alone(name: str) -> None:
    module = Small(name)
    state = torch.get_rng_state()
    first, second = module.build(3), module.build(3)
    assert module.example_inputs()[0].equal(module.example_inputs()[0])
    batches = [torch.cat([row for (row,) in module.coverage_inputs(3)]) for _ in range(2)]
    assert torch.get_rng_state().equal(state)
    assert batches[0].equal(batches[1])
    weights = second.state_dict()
    assert all(weights[key].equal(value) for key, value in first.state_dict().items())
    arguments = module.example_inputs()
    before = arguments[0].clone()
    assert flat(first(*arguments)) == flat(second(*arguments)) == flat(first(*arguments))
    assert arguments[0].equal(before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PLACES)
def test_coverage_inputs_take_both_sides_of_every_decision(name: str, seed: int) -> None:
    module = import_module(f"dyncc_models.{name}")
    path = Path(inspect.getfile(module))
    network, inputs = module.build(seed), module.coverage_inputs(seed)
    with recorded(path, network) as sides:
        for arguments in inputs:
            network(*arguments)
    assert len(sides.taken) == PLACES[name]
    assert {line for _, line, _ in sides.taken} == {item.line for item in decisions_of(path)}
    one_sided = [place for place, seen in sides.taken.items() if seen != {True, False}]
    assert one_sided == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_halting_loop_ends_for_both_reasons(seed: int) -> None:
    # `a < b and n < c` is two decisions on one line, which the tracer sees as one.
    halting = import_module("dyncc_models.halting")
    network = halting.build(seed)
    ends = set()
    probabilities: list[float] = []
    network.halt.register_forward_hook(
        lambda module, inputs, output: probabilities.append(torch.sigmoid(output).item())
    )
    for arguments in halting.coverage_inputs(seed):
        probabilities.clear()
        _, steps, _ = network(*arguments)
        halted = sum(probabilities) >= 1.0 - network.epsilon
        assert halted or steps == network.max_steps
        ends.add((halted, "one" if steps == 1 else "limit" if steps == 10 else "between"))
    assert {(True, "one"), (True, "between"), (False, "limit")} <= ends


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "limit"),
    [("pointer_network", 10), ("dycl.captioning", 20), ("dycl.captioning_attention", 20)],
)
def test_decoders_stop_at_once_midway_and_at_the_limit(name: str, limit: int, seed: int) -> None:
    module = Small(name)
    network = module.build(seed)
    choices = [len(network(*arguments)[1]) for arguments in module.coverage_inputs(seed)]
    assert {1, limit} <= set(choices)
    assert len(set(choices)) >= 3


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_ordinary_pytorch(name: str) -> None:
    """No network imports or mentions the compiler, and no forward method asks who calls it."""
    module = import_module(f"dyncc_models.{name}")
    tree = ast.parse(inspect.getsource(module))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(item == "dyncc" or item.startswith("dyncc.") for item in imported)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert used.isdisjoint({"compiler", "jit", "is_compiling", "cond", "while_loop"})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [name for name in NETWORKS if "sdn" in name])
def test_images_leave_at_every_exit_and_the_last_one_may_answer(name: str, seed: int) -> None:
    model = Small(name)
    network = model.build(seed)
    found = [network(*arguments)[1:] for arguments in model.coverage_inputs(seed)]
    last = 5 if name == "dycl.sdn_mobilenet" else 6
    assert {index for index, early in found if early} == set(range(last))
    late = {index for index, early in found if not early}
    assert last in late
    assert len(late) > 1


def test_the_factor_that_makes_a_classifier_sure() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    factors = sdn.sure_scales(logits, 0.9)
    assert torch.allclose(
        (logits * factors[:, None]).softmax(1).amax(1), torch.tensor(0.9).double()
    )


@pytest.mark.parametrize("name", dycl.NETWORKS)
def test_networks_are_as_large_as_published(name: str) -> None:
    made = {
        "sdn_mobilenet": lambda m: m.make(1), "sdn_vgg": lambda m: m.make(1),
        "sdn_resnet": lambda m: m.make(1), "sdn_wideresnet": lambda m: m.make(4),
        "skipnet": lambda m: m.SkipNet(), "skipnet_recurrent": lambda m: m.RecurrentSkipNet(),
        "captioning": lambda m: m.Captioner(*m.SIZES),
        "captioning_attention": lambda m: m.AttentionCaptioner(*m.SIZES[:3]),
        "blockdrop": lambda m: m.BlockDrop(),
    }  # fmt: skip
    module = import_module(f"dyncc_models.dycl.{name}")
    with torch.device("meta"):
        network: nn.Module = made[name](module)
    low, high = MILLIONS[name]
    assert low <= sum(weight.numel() for weight in network.parameters()) / 1e6 <= high


def test_depths_that_no_skipnet_has() -> None:
    assert len(skipnet.blocks_of(110, (16, 32, 64))) == 54
    for layers in (2, 37, 40):
        with pytest.raises(ValueError, match="6 n"):
            skipnet.blocks_of(layers, (16, 32, 64))

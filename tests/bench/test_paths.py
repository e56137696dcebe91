"""Which paths there are, what they are called, and which are timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench import networks
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dyncc.bench.paths import Trace, choose, key, name_of
from dyncc.bench.session import Settings, cases_of
from dyncc.driver import compile
from dyncc.ir.hcfg import Hcfg


def _compiled(kind: type[nn.Module], width: int = 4) -> tuple[Hcfg, list[Trace]]:
    torch.manual_seed(0)
    calls = networks.inputs(width, 24)
    program = compile(kind().eval(), calls[0], backend="eager")
    traces = []
    for call in calls:
        with program.trace() as counts:
            program(*call)
        traces.append(key(counts))
    return program.hcfg, traces


def test_exits_are_numbered() -> None:
    program, traces = _compiled(networks.Exits)
    names = {name_of(program, trace) for trace in traces}
    assert names == {"exit 1 of 3", "exit 2 of 3", "exit 3 of 3"}


def test_gates_are_counted() -> None:
    program, traces = _compiled(networks.Gates)
    names = {name_of(program, trace) for trace in traces}
    assert {f"`keep[index].item() > 0` true {n} of 3 times" for n in (0, 1, 2, 3)} >= names
    assert len(names) > 2


def test_turns_are_counted() -> None:
    program, traces = _compiled(networks.Decoder)
    names = {name_of(program, trace) for trace in traces}
    assert any("turn" in name for name in names)
    assert len(names) > 2


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_the_paths_that_are_timed_stand_for_all_inputs(most: int) -> None:
    program, traces = _compiled(networks.Gates)
    chosen = choose(program, traces, most)
    assert len(chosen) <= most
    assert sum(path.weight for path in chosen) == pytest.approx(1.0)
    assert len({path.name for path in chosen}) == len(chosen)
    assert [path.blocks for path in chosen] == sorted(path.blocks for path in chosen)
    for path in chosen:
        assert len({traces[index] for index in path.inputs}) == 1
    if most >= len(set(traces)):
        shares = {path.inputs: len(path.inputs) / len(traces) for path in chosen}
        assert {path.inputs: path.weight for path in chosen} == pytest.approx(shares)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 12))
def test_some_paths_represent_those_of_their_length(lengths: list[int], most: int) -> None:
    torch.manual_seed(0)
    program, _ = _GATES
    edge = next(iter(program.edges()))[:2]
    traces: list[Trace] = [((edge, length),) if length else () for length in lengths]
    chosen = choose(program, traces, most)
    mean = sum(path.weight * (path.blocks - 1) for path in chosen)
    # Each input is represented by one of its own part of the ordered inputs.
    assert min(lengths) <= mean <= max(lengths)
    assert sum(path.weight for path in chosen) == pytest.approx(1.0)
    if len(set(lengths)) <= most:
        assert mean == pytest.approx(sum(lengths) / len(lengths))


_GATES = _compiled(networks.Gates)


def test_without_a_program_there_is_one_path() -> None:
    (path,) = choose(None, [(), ()], 6)
    assert (path.name, path.inputs, path.weight) == ("all inputs", (0, 1), 1.0)


def test_batches_hold_paths_as_often_as_inputs_take_them() -> None:
    program, traces = _compiled(networks.Exits)
    paths = choose(program, traces, 6)
    cases = cases_of(paths, Settings(1, (1, 8)))
    assert [case.batch for case in cases] == [1] * len(paths) + [8]
    drawn = [index for batch in cases[-1].batches for index in batch]
    assert {len(batch) for batch in cases[-1].batches} == {8}
    for path in paths:
        share = sum(index in path.inputs for index in drawn) / len(drawn)
        assert abs(share - path.weight) <= 1 / len(drawn)


def test_networks_is_a_model_file() -> None:
    from dyncc.bench.subjects import open_source

    source = open_source(str(Path(networks.__file__)))
    assert isinstance(source.module, nn.Module)
    assert len(source.inputs) == 12

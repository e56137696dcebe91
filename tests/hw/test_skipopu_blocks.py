"""The arithmetic of SkipOPU equals its twins, under random stalls, on both simulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from amaranth import signed
from amaranth.lib import data
from hw.simulators import SIMULATORS

from dyncc.arch.skipopu.packing import MANTISSAS, SCHEMES
from dyncc.core.errors import ConfigError, MismatchError
from dyncc.core.tools import FPGA_TOOLS, find
from dyncc_hw.skipopu.area import cells
from dyncc_hw.skipopu.arithmetic.packed import (
    MantissaMultiplier,
    PackedMultiplier,
    lanes_of,
    scheme_for,
)
from dyncc_sim.skipopu.bench.array_cases import ARRAYS, LARGE_ARRAYS
from dyncc_sim.skipopu.bench.attention_cases import ATTENTION
from dyncc_sim.skipopu.bench.block_cases import FLOATS, PACKED
from dyncc_sim.skipopu.bench.function_cases import FUNCTIONS
from dyncc_sim.skipopu.bench.rig import Cases, Maker, packed, run_blocks

#: One build for each: most of the time goes into building.
GROUPS: dict[str, Mapping[str, Maker]] = {
    "units": FLOATS | PACKED | FUNCTIONS | ATTENTION,
    "arrays": ARRAYS,
}
YOSYS = find(FPGA_TOOLS["yosys"])
needs_yosys = pytest.mark.skipif(
    YOSYS.path is None, reason=f"yosys was not found: {YOSYS.need.source}"
)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("group", GROUPS)
def test_blocks_equal_their_twins(group: str, simulator: str) -> None:
    run_blocks(GROUPS[group], 1, [simulator])


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", LARGE_ARRAYS)
def test_large_arrays_equal_their_twins(name: str, simulator: str) -> None:
    run_blocks({name: LARGE_ARRAYS[name]}, 1, [simulator])


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_blocks_with_more_seeds(group: str) -> None:
    for seed in range(2, 8):
        run_blocks(GROUPS[group], seed, ["verilator"])


# --- the bench can fail -----------------------------------------------------------------------


def changed(change: Any) -> Maker:
    def make(draw: Any) -> Cases:
        cases = FLOATS["compare"](draw)
        change(cases)
        return cases

    return make


def lose_one(cases: Cases) -> None:
    cases.outputs.pop(300)


def alter_one(cases: Cases) -> None:
    cases.outputs[300] ^= 1


def nothing(cases: Cases) -> None:
    cases.inputs, cases.outputs = [], []


def uncovered(cases: Cases) -> None:
    cases.required = ("never",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lose_one, "compare: result 300 is"),
        (alter_one, "compare: result 300 is"),
        (nothing, "nothing covers: compared"),
        (uncovered, "nothing covers: never"),
    ],
)
def test_the_bench_tells_what_is_wrong(change: Any, says: str) -> None:
    with pytest.raises(MismatchError, match=says):
        run_blocks({"compare": changed(change)}, 1, ["verilator"])


# --- multipliers ------------------------------------------------------------------------------


@needs_yosys
@pytest.mark.parametrize(
    "name",
    [
        # yosys takes 20 s to read the cells of a large Xilinx.
        pytest.param(name, marks=[pytest.mark.slow] if scheme.target == "DSP48E2" else [])
        for name, scheme in (SCHEMES | MANTISSAS).items()
    ],
)
def test_a_scheme_takes_one_multiplier(name: str) -> None:
    scheme = (SCHEMES | MANTISSAS)[name]
    unit = PackedMultiplier(scheme) if name in SCHEMES else MantissaMultiplier(scheme)
    found = cells(unit, scheme.target, multipliers_only=True)
    assert found[scheme.target] == 1
    assert "$mul" not in found


def test_schemes_of_instances() -> None:
    assert scheme_for("DSP48E2", 2, 12).name == "dsp48e2_int4_bfp12"
    assert scheme_for("MULT18X18D", 2, 8).name == "ecp5_int4_bfp8"
    assert scheme_for("SB_MAC16", 2, 8).name == "ice40_int4_bfp8"
    with pytest.raises(ConfigError, match=r"no scheme makes 2 products .* 12-bit .* MULT18X18D"):
        scheme_for("MULT18X18D", 2, 12)
    with pytest.raises(ConfigError, match="adds up to 4 products, not 5"):
        lanes_of(SCHEMES["ecp5_int4_bfp8"], 0, 5)
    with pytest.raises(ConfigError, match="there is no family 'XC9536'"):
        cells(None, "XC9536")


def test_values_are_packed_by_their_shapes() -> None:
    shape = data.StructLayout({"weights": data.ArrayLayout(signed(4), 2), "first": 1})
    assert packed(shape, {"weights": [-8, 7], "first": 1}) == 1 << 8 | 7 << 4 | 8
    with pytest.raises(ValueError, match="8 does not fit signed"):
        packed(shape, {"weights": [8, 7], "first": 1})
    with pytest.raises(ValueError, match="1 elements do not fill an array of 2"):
        packed(shape, {"weights": [8], "first": 1})
    with pytest.raises(ValueError, match="are not the members"):
        packed(shape, {"weights": [8]})

"""Sizes of SkipOPU's arithmetic: which there are, and what they take."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Fragment

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.core.errors import ConfigError
from dyncc.core.tools import FPGA_TOOLS, find
from dyncc_hw.skipopu.area import compare
from dyncc_hw.skipopu.arithmetic.normaliser import Normaliser
from dyncc_hw.skipopu.arithmetic.reductions import Reducer
from dyncc_hw.skipopu.array.terms import PeArray
from dyncc_hw.skipopu.shape import ArrayShape

TARGETS = dict.fromkeys(ARCHS, "DSP48E2") | {
    "ice40_2x2": "SB_MAC16", "ecp5_85f": "MULT18X18D", "ulx3s_4x4": "MULT18X18D",
}  # fmt: skip
YOSYS = find(FPGA_TOOLS["yosys"])


@pytest.mark.parametrize("name", ARCHS)
def test_a_block_takes_no_longer_than_its_slices(name: str) -> None:
    shape = ArrayShape(ARCHS[name], TARGETS[name])
    assert shape.turns <= shape.slices
    assert shape.units * shape.turns >= len(shape.terms) == 2 * shape.arch.products * shape.ways
    assert shape.accumulator_bits <= 64
    assert shape.span * shape.ways == shape.arch.columns


@pytest.mark.parametrize("name", ["ice40_2x2", "ecp5_85f"])
def test_arrays_become_netlists(name: str) -> None:
    shape = ArrayShape(ARCHS[name], TARGETS[name])
    text = rtlil.convert(PeArray(shape), name="top", emit_src=False)
    # A multiplier for each row and column, and one in each unit that makes terms.
    assert text.count("cell $mul ") == shape.arch.rows * (shape.arch.columns + shape.units)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u280", "u280_g128"])
def test_arrays_of_4096_multipliers_are_built(name: str) -> None:
    """Only built: to write their netlist takes Amaranth minutes and more than 10 GB."""
    assert Fragment.get(PeArray(ArrayShape(ARCHS[name], TARGETS[name])), None).subfragments


def test_sizes_that_do_not_fit_are_refused() -> None:
    ecp5 = ARCHS["ecp5_85f"]
    with pytest.raises(ConfigError, match="5 columns and blocks of 32 do not go into each other"):
        ArrayShape(replace(ecp5, columns=5), "MULT18X18D")
    with pytest.raises(ConfigError, match="no scheme makes 3 products"):
        ArrayShape(replace(ecp5, products=3), "MULT18X18D")
    with warnings.catch_warnings():
        # Amaranth warns of components that are never used.
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match="a mantissa has 6 to 16 bits, not 17"):
            Normaliser(32, 17)
        with pytest.raises(ConfigError, match="a block of 32 is not some runs of 5 numbers"):
            Normaliser(32, 8, 5)
        with pytest.raises(ConfigError, match="a block of 32 is not some runs of 3 numbers"):
            Reducer(32, 8, 3)
        with pytest.raises(ConfigError, match="at least one block, not 0"):
            Reducer(32, 0)
        gc.collect()


@pytest.mark.slow
@pytest.mark.skipif(YOSYS.path is None, reason=f"yosys was not found: {YOSYS.need.source}")
def test_the_array_saves_look_up_tables() -> None:
    """Against a float lane for each product: at least 57 % fewer, as the SkipOPU paper states."""
    found = compare(ArrayShape(ARCHS["ecp5_85f"], "MULT18X18D"))
    print(f"{found}, saves {found.saving:.1%}")  # noqa: T201  (pytest shows it with -s)
    assert found.array_multipliers <= 8 * 8 + 8 * 2
    assert found.saving >= 0.57

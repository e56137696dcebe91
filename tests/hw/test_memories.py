"""SPRAM behaves as the plain memory that simulations have."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth import Elaboratable, Fragment, Module, Mux, Signal, unsigned
from amaranth.lib import memory
from amaranth.sim import Simulator

from dyncc.core.errors import ConfigError
from dyncc_hw.neurocorex import memories
from dyncc_hw.neurocorex.memories import SPRAM_WORDS, SinglePortMemory, sprams

ICE40 = SimpleNamespace(device="iCE40UP5K")


class Spram(Elaboratable):
    """SB_SPRAM256KA, as Lattice's FPGA-TN-02022 has it; its output is undefined after a write."""

    def __init__(self, kind: str, **ports: Any) -> None:
        assert kind == "SB_SPRAM256KA"
        self.ports = ports

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ports = SimpleNamespace(**self.ports)
        m.submodules.store = store = memory.Memory(shape=unsigned(16), depth=SPRAM_WORDS, init=[])
        write, read = store.write_port(granularity=4), store.read_port()
        wrote = Signal()
        with m.If(ports.i_CHIPSELECT):
            m.d.sync += wrote.eq(ports.i_WREN)
        m.d.comb += [
            write.addr.eq(ports.i_ADDRESS),
            write.data.eq(ports.i_DATAIN),
            write.en.eq(Mux(ports.i_CHIPSELECT & ports.i_WREN, ports.i_MASKWREN, 0)),
            read.addr.eq(ports.i_ADDRESS),
            read.en.eq(ports.i_CHIPSELECT & ~ports.i_WREN),
            ports.o_DATAOUT.eq(Mux(wrote, 0xDEAD, read.data)),
        ]
        return m


@pytest.mark.parametrize(
    ("width", "depth"), [(16, SPRAM_WORDS), (10, 5), (20, SPRAM_WORDS + 3), (16, 3 * SPRAM_WORDS)]
)
@pytest.mark.parametrize("platform", [None, ICE40], ids=["plain", "spram"])
def test_single_port_memory(
    width: int, depth: int, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memories, "Instance", Spram)
    dut = SinglePortMemory(width, depth)
    draw = random.Random(1)
    places = sorted({0, 1, depth - 1, depth // 2, *range(0, depth, SPRAM_WORDS)})
    compared = 0

    async def bench(context: Any) -> None:
        nonlocal compared
        stored = dict.fromkeys(places, 0)
        for place in places:
            stored[place] = draw.getrandbits(width)
            context.set(dut.write.addr, place)
            context.set(dut.write.data, stored[place])
            context.set(dut.write.en, 1)
            await context.tick()
        for _ in range(300):
            writes, reads = draw.random() < 0.4, draw.random() < 0.6
            place, other = draw.choice(places), draw.choice(places)
            content = draw.getrandbits(width)
            context.set(dut.write.en, writes)
            context.set(dut.write.addr, place)
            context.set(dut.write.data, content)
            context.set(dut.read.en, reads)
            context.set(dut.read.addr, other)
            await context.tick()
            if writes:
                stored[place] = content
            elif reads:
                assert context.get(dut.read.data) == stored[other]
                compared += 1

    simulator = Simulator(Fragment.get(dut, platform))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert compared > 50


def test_more_weights_than_spram_are_refused() -> None:
    assert sprams(20, SPRAM_WORDS + 3) == (2, 2)
    message = "take 6 SPRAMs of 16384 words of 16 bits, the device has 4"
    with pytest.raises(ConfigError, match=message):
        sprams(32, 2 * SPRAM_WORDS + 1)

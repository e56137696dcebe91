"""The front of SkipOPU: programs are dispatched as the simulator's sequencer does it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hw.simulators import SIMULATORS

from dyncc.arch.skipopu.isa import BODIES, BODY_BITS, INSTRUCTION_BITS, Op, Trap, decode
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.core.errors import MismatchError
from dyncc_hw.skipopu.control.decoder import Decoder
from dyncc_sim.skipopu.bench.front_cases import FAULTS, REQUIRED, case, run
from dyncc_sim.skipopu.bench.instances import BATCHED, SINGLE

INSTANCES = {arch.name: arch for arch in (SINGLE, BATCHED)}
TRAPS = tuple(
    f"trap {name}"
    for name in ("OPCODE", "LOOP", "RUNAWAY", "SHAPE", "DEADLOCK", "SEMAPHORE", "WATCHDOG")
)


def mixed(arch: ArchSpec, first: int, count: int) -> list[dict[str, Any]]:
    """Programs that are right, and one with each fault after every few of them."""
    found = []
    for seed in range(first, first + count):
        found += [case(arch, seed), case(arch, seed, FAULTS[seed % len(FAULTS)])]
    return found


@pytest.mark.parametrize("name", [BATCHED.name, pytest.param(SINGLE.name, marks=pytest.mark.slow)])
def test_programs_and_faults(name: str) -> None:
    arch = INSTANCES[name]
    cases = mixed(arch, 0, len(FAULTS))
    run(arch, cases, 1, (*REQUIRED, *TRAPS, "reset"))


def test_cycles_of_instructions() -> None:
    # With this bus instructions come as fast as they are dispatched.
    run(
        BATCHED, [case(BATCHED, seed, "", True) for seed in range(8)], 2, ("timed", "mode MULTIPLY")
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda told: told["steps"].pop(), "one instruction too many is dispatched"),
        (lambda told: told["left"].__setitem__(9, told["left"][9] ^ 1), "r9 = "),
        (lambda told: told.__setitem__("trap", int(Trap.SLOTS)), "trap 0 at"),
    ],
)
def test_a_difference_is_told(spoil: Any, message: str) -> None:
    told = case(SINGLE, 3)
    spoil(told)
    with pytest.raises(MismatchError, match=message):
        run(SINGLE, [told], 3)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", INSTANCES)
def test_more_seeds(name: str, simulator: str) -> None:
    arch = INSTANCES[name]
    for seed in range(100, 110 if simulator == "icarus" else 160, 10):
        run(arch, mixed(arch, seed, 10), seed, (), simulator)


def test_the_decoder_takes_what_the_format_takes() -> None:
    from amaranth.sim import Simulator

    draw = random.Random(1)
    decoder = Decoder()
    words = []
    for op in Op:
        # Each bit of the body alone, and of the header; then all at once.
        words += [int(op) << 60 | 1 << bit for bit in range(INSTRUCTION_BITS - 4)]
        limit = sum(item.bits for item in BODIES[op] if item.name != "reserved")
        for _ in range(60):
            body = draw.getrandbits(limit) if limit else 0
            words.append(
                int(op) << 60 | draw.randrange(8) << 57 | draw.getrandbits(12) << 45 | body
            )
    words += [draw.getrandbits(INSTRUCTION_BITS) for _ in range(300)]
    known = []

    async def bench(ctx: Any) -> None:
        for word in words:
            ctx.set(decoder.word, word)
            try:
                decode(word)
                wanted = True
            except ValueError:
                wanted = False
            assert ctx.get(decoder.defined) == wanted, hex(word)
            assert ctx.get(decoder.header.release) == word >> BODY_BITS & 63
            known.append(wanted)

    simulator = Simulator(decoder)
    simulator.add_testbench(bench)
    simulator.run()
    assert 0.1 < sum(known) / len(known) < 0.9

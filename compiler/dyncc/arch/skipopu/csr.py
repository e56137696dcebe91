"""Control and status registers of SkipOPU: their one layout.

A host sees `REGISTERS` of 64 bits, each of which is two words of 32 bits, the lower one first: the
words at ``2 n`` and ``2 n + 1`` are register ``n``. Reading the lower word keeps the upper one, and
the upper word reads as what was kept, so that the two belong together. A register of more than 32
bits takes effect when its upper word is written, after the lower one; others with the lower word.

Only `Place.CONTROL` and what a program is given can be written, and nothing while one runs: such a
write is ignored. What is not there reads as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from dyncc.arch.fields import Code, Field
from dyncc.arch.skipopu.isa import (
    COUNT_BITS,
    REGISTER_BITS,
    SEMAPHORE_BITS,
    SEMAPHORES,
    Engine,
)
from dyncc.arch.skipopu.isa import REGISTERS as MACHINE_REGISTERS

WORD_BITS = 32
#: Registers, and bits of the number of a word.
REGISTERS = 128
ADDRESS_BITS = (2 * REGISTERS - 1).bit_length()
#: What `Place.IDENTITY` holds.
IDENTITY = int.from_bytes(b"SkipOPU1", "big")
#: Regions of memory that a program may write.
WINDOWS = 4
#: Clients of the memory port: those that read, the last of which gets what others leave, and those
#: that write.
READERS = ("fetch", "vectors", "rotations", "history", "entries", "stream")
WRITERS = ("store", "slots")
CLIENTS = READERS + WRITERS
#: Engines, in the order of their numbers.
WORKERS = tuple(engine for engine in Engine if engine != Engine.SEQUENCER)


class State(Code):
    """What the machine does."""

    IDLE = 0, "nothing was run yet"
    STARTING = 1, "what was left is aborted, engines and registers are reset"
    RUNNING = 2, "it runs a program"
    HALTED = 3, "the program has ended"
    TRAPPED = 4, "the program was stopped"


class Place(Code):
    """Numbers of registers; of those that there are several of, of the first."""

    IDENTITY = 0, 'the letters "SkipOPU1"'
    CONTROL = 1, "starts a program; reads as 0"
    STATUS = 2, "what the machine does, and why and where a program was stopped"
    SEMAPHORES = 3, "what the semaphores hold; after a trap, what they held"
    BASE = 4, "address of the program"
    LENGTH = 5, "instructions of the program"
    WATCHDOG = 6, "cycles that memory may take for an answer; 0 for any"
    MEMORY_BYTES = 7, "addresses from this one on do not exist"
    WINDOWS = 8, "what a program may write: first address, then the one behind the last, of each"
    ENGINES = 16, "what each engine does; after a trap, what it did"
    REGISTERS = 32, "registers of the machine; while a program runs they read as anything"
    COUNTERS = 64, "counters of events since the start of a program"


CONTROL = (
    Field("start", 1, False, "run the program"),
    Field("forget", 1, False, "memory was changed: no keys and values on chip are valid"),
)
STATUS = (
    Field("state", 4, False, "see State"),
    Field("trap", 4, False, "see Trap; 0 if the program was not stopped"),
    Field("pc", COUNT_BITS, False, "place of the instruction that was stopped"),
)
SEMAPHORE_COUNTS = tuple(
    Field(f"semaphore_{number}", SEMAPHORE_BITS, False, f"semaphore {number}")
    for number in range(SEMAPHORES)
)
ENGINE = (
    Field("busy", 1, False, "it works on an instruction"),
    Field("suppressed", 1, False, "which does nothing but wait and release"),
    Field("starved", 1, False, "it waits for rows of a matrix, or for room for them"),
    Field("op", 4, False, "opcode of the instruction; of the last one if it is idle"),
    Field("waiting", 4, False, "instructions in its queue"),
    Field("reserved", 21, False, "0"),
    Field("pc", COUNT_BITS, False, "place of the instruction"),
)
#: Registers that a host writes, beside `CONTROL` and the machine's own: their bits.
WRITABLE = {
    Place.BASE: REGISTER_BITS, Place.LENGTH: COUNT_BITS, Place.WATCHDOG: 32,
    Place.MEMORY_BYTES: REGISTER_BITS,
    **{Place.WINDOWS + index: REGISTER_BITS for index in range(2 * WINDOWS)},
}  # fmt: skip

#: Counters, in the order of their registers.
COUNTERS = (
    *(Field(f"{name}_bytes", 64, False, f"bytes that {name} asked for") for name in CLIENTS),
    *(Field(f"{name}_requests", 64, False, f"requests of {name}") for name in CLIENTS),
    Field("cycles", 64, False, "cycles in which the program ran"),
    Field("instructions", 64, False, "instructions that were dispatched, the sequencer's own too"),
    Field("port_cycles", 64, False, "cycles in which the memory port moved a word"),
    *(
        Field(f"{engine.name.lower()}_{event}", 64, False, meaning.format(engine.name))
        for engine in WORKERS
        for event, meaning in (
            ("cycles", "cycles in which {} works"),
            (
                "starved",
                "of these, cycles in which it waits for rows, or for room for them",
            ),
            ("instructions", "instructions that {} has done"),
            ("suppressed", "of these, suppressed ones"),
        )
    ),
    Field("resident", 64, False, "slots of keys and values that attention found on chip"),
    Field("fetched", 64, False, "slots of keys and values that attention read from memory"),
)


@dataclass(frozen=True)
class Row:
    """A register for the page that describes them: its number, name, bits and meaning."""

    number: int
    name: str
    bits: int
    written: bool
    meaning: str


def rows() -> list[Row]:
    """All registers, in order."""
    found = [
        Row(Place.IDENTITY, "identity", 64, False, Place.IDENTITY.meaning),
        Row(Place.CONTROL, "control", 2, True, Place.CONTROL.meaning),
        Row(Place.STATUS, "status", 32, False, Place.STATUS.meaning),
        Row(Place.SEMAPHORES, "semaphores", SEMAPHORE_BITS * SEMAPHORES, False,
            Place.SEMAPHORES.meaning),
    ]  # fmt: skip
    for number, bits in WRITABLE.items():
        index = number - Place.WINDOWS
        if index < 0:
            name, meaning = Place(number).name.lower(), Place(number).meaning
        else:
            end = index % 2
            name = f"window_{index // 2}_{'end' if end else 'start'}"
            meaning = "address behind the last that may be written" if end else "the first address"
        found.append(Row(number, name, bits, True, meaning))
    found += [
        Row(Place.ENGINES + index, f"engine_{engine.name.lower()}", 64, False, engine.meaning)
        for index, engine in enumerate(WORKERS)
    ]
    found += [
        Row(Place.REGISTERS + number, f"r{number}", REGISTER_BITS, True, "see above")
        for number in range(MACHINE_REGISTERS)
    ]
    found += [
        Row(Place.COUNTERS + index, item.name, item.bits, False, item.meaning)
        for index, item in enumerate(COUNTERS)
    ]
    return found

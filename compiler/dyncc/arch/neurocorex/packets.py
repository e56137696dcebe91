"""What a host and a NeuroCoreX device say to each other over the link of `dyncc.arch.link`.

Time passes by *stimulus words*, which the device holds in a queue and carries out in order: a spike
on an input line, or a number of steps, of which the first gets the spikes before it. So the outcome
does not depend on when words arrive. What the core did is in a *log*, which the host reads at its
pace: in each step the neurons that fired, in order of their number, then a mark. A step starts only
when the log has room for all that may happen in it.

When dynamic termination decides, the words left in the queue are dropped, as are those that come,
until the register ``clear`` is written. Spikes of a step come in ascending order of their lines;
any other, or a line that the core lacks, is dropped and sets the flag ``disordered``, until
``clear``. A word of 0 steps does nothing.

A step that does not end is broken off after twice the cycles of the longest step: it leaves nothing
in the log, the core is reset, the flag ``watchdog`` is set, and words are dropped until ``clear``.

A list of bus words goes on at the next part of a memory word, then at the next word, and does not
leave its memory. All of it is checked before the first word is read or written. A list of no words
is fine at any address. A memory word is defined once all its parts were written in order, in one
list or in two, one after the other. `STOP` and `SNAPSHOT` are answered when the step under way has
ended; spikes that the core has stay for its next step. `ADDRESS` also refuses memories of
`READ_ONLY` to `WRITE`, a number of steps to `RUN`, and a position that the log does not hold to
`DRAIN`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dyncc.arch.fields import Code, Field
from dyncc.arch.link import MAX_REQUEST, MAX_RESPONSE, LinkSpec
from dyncc.arch.neurocorex.layout import BUS_BITS, COUNTERS
from dyncc.arch.neurocorex.spec import CoreSpec

#: "NCX1" as bytes on the line.
MAGIC = 0x3158434E
VERSION = 1


class Opcode(Code):
    """Requests: their payload → that of the answer. Numbers are little-endian."""

    PING = 0, "nonce u32 → nonce u32, `INFO`; outside of the order of requests"
    READ = 1, "address u32, count u8 → bus words u32 from there on; not while it runs"
    WRITE = 2, "address u32, bus words u32 → nothing; not while it runs"
    EVENTS = 3, "stimulus words u16, as many as there are credits → nothing"
    RUN = 4, "steps u16 in 1..32767, which become one stimulus word → nothing"
    STOP = 5, "drops all stimulus words, and ends with the step under way → nothing"
    SNAPSHOT = 6, "→ `SNAPSHOT`, as it is between two steps"
    DRAIN = 7, "position u16, count u8 → log words u16 from there on; frees those before"


#: Requests that may be answered again later, see `dyncc.arch.link`. `DRAIN` answers with as many
#: words as there are, and at most ``count``.
QUERIES = frozenset({Opcode.PING, Opcode.READ, Opcode.SNAPSHOT, Opcode.DRAIN})

#: Requests' payloads before a list of words.
ADDRESS = (Field("address", 32, False, "bus address; a list goes on at the next part or word"),)
READ = (*ADDRESS, Field("count", 8, False, "bus words"))
DRAIN = (
    Field("position", 16, False, "log words before it are done with"),
    Field("count", 8, False, "log words wanted"),
)
RUN = (Field("steps", 16, False, "1..32767"),)
NONCE = (Field("nonce", 32, False, "any number, which comes back"),)

#: Most words of a request or a response.
MAX_READ = MAX_RESPONSE // 4
MAX_WRITE = (MAX_REQUEST - 4) // 4
MAX_EVENTS = MAX_REQUEST // 2
MAX_DRAIN = MAX_RESPONSE // 2

#: A stimulus word: with this bit a number of steps, without it an input line.
STEPS_BIT = 15
MAX_STEPS = (1 << STEPS_BIT) - 1
#: A log word: with this bit the end of a step, with the lowest bit if dynamic termination decided;
#: without it a neuron that fired.
STEP_END_BIT = 15

#: What a device says of itself.
INFO = (
    Field("magic", 32, False, "0x3158434E, NCX1"),
    Field("version", 32, False, "of this protocol"),
    *(
        Field(name, 32, False, "see CoreSpec")
        for name in (
            "neurons", "inputs", "weight_bits", "state_bits", "lanes", "parameter_sets",
            "synapse_words", "learning", "max_delay", "classes",
        )
    ),
    Field("clk_hz", 32, False, "clock"),
    Field("receive_bytes", 32, False, "bytes of request bodies that it holds"),
    Field("queue_words", 32, False, "stimulus words that it holds"),
    Field("log_words", 32, False, "log words that it holds"),
)  # fmt: skip

SNAPSHOT = (
    Field("running", 1, False, "stimulus words are left, or a step is under way"),
    Field("decided", 1, False, "dynamic termination decided"),
    Field("log_full", 1, False, "it waits for room in the log"),
    Field("disordered", 1, False, "a spike was dropped; until clear"),
    Field("watchdog", 1, False, "a step did not end within its bound, and was broken off"),
    Field("reserved", 27, False, "0"),
    Field("log_start", 16, False, "position of the first log word that is held, modulo 2^16"),
    Field("log_end", 16, False, "position after the last log word, modulo 2^16"),
    *(Field(item.name, BUS_BITS, item.signed, item.meaning) for item in COUNTERS),
)


def log_words(spec: CoreSpec) -> int:
    """Log words that a device holds, a power of two: two steps in which all neurons fire fit."""
    return max(256, 1 << (2 * (spec.neurons + 1) - 1).bit_length())


def queue_words(spec: CoreSpec) -> int:
    """Stimulus words that a device holds, a power of two: a step with spikes on all lines fits."""
    return max(256, 1 << spec.inputs.bit_length())


def device_info(spec: CoreSpec, link: LinkSpec) -> dict[str, int]:
    """The values of `INFO`."""
    return {
        "magic": MAGIC,
        "version": VERSION,
        **{name: int(value) for name, value in asdict(spec).items()},
        "clk_hz": link.clk_hz,
        "receive_bytes": link.receive_bytes,
        "queue_words": queue_words(spec),
        "log_words": log_words(spec),
    }


def spec_of(info: dict[str, int]) -> CoreSpec:
    """The core of a device that said `info`."""
    sizes: dict[str, Any] = {name: info[name] for name in CoreSpec.__dataclass_fields__}
    return CoreSpec(**sizes | {"learning": bool(info["learning"])})

"""The page that describes memories, registers and packets of a core."""

from __future__ import annotations

from dyncc.arch.fields import Field
from dyncc.arch.link import (
    CRC_INVERSION,
    CRC_POLYNOMIAL,
    CRC_START,
    MAX_BODY,
    REQUEST,
    RESPONSE,
    WINDOW,
    LinkSpec,
    Status,
)
from dyncc.arch.neurocorex import packets
from dyncc.arch.neurocorex.layout import (
    CHUNK_BITS,
    COUNTERS,
    INDEX_BITS,
    SPACE_BITS,
    Space,
    bus_words,
    control_registers,
    memory_bits,
    memory_depth,
    parameter_fields,
    row_fields,
    spaces,
    state_fields,
    synapse_fields,
)
from dyncc.arch.neurocorex.learning import Rule, Test
from dyncc.arch.neurocorex.spec import CoreSpec, Dynamics, Reset
from dyncc.arch.reference import byte_table, code_table, layout_table, table

#: A core that has all memories.
EXAMPLE = CoreSpec(96, 96, lanes=2, synapse_words=8192, learning=True, max_delay=4, classes=10)


def page(spec: CoreSpec = EXAMPLE, link: LinkSpec | None = None) -> str:
    """The page in Markdown; widths and depths are those of `spec`."""
    sizes = ", ".join(f"{name}={getattr(spec, name)}" for name in CoreSpec.__dataclass_fields__)
    sections = [
        "# NeuroCoreX: registers and packets",
        (
            "Written from the definitions in `dyncc.arch` by `dyncc reference neurocorex`; what "
            "the numbers mean is in [neurocorex.md](neurocorex.md). Widths and depths are those of "
            f"a core with {sizes}."
        ),
        "## Memories",
        (
            "A bus address holds, from the low bits: the 32-bit part of a memory word "
            f"({CHUNK_BITS} bits), the memory word ({INDEX_BITS}), the space ({SPACE_BITS}). Parts "
            "are written in order; the last one stores the word."
        ),
        _memories(spec),
        *_layouts(spec),
        "## Registers",
        "Of space `CONTROL`, one bus word each.",
        _registers(control_registers(spec)),
        "Of space `COUNTERS`; they count from `clear` on, and wrap.",
        _registers(COUNTERS),
        *_codes(("Rule", Rule), ("Test", Test), ("Dynamics", Dynamics), ("Reset", Reset)),
        "## Frames",
        (
            "A body is a header and a payload, little-endian, and a CRC-16, high byte first, at "
            f"most {MAX_BODY} bytes; on the line it is stuffed (COBS) and ended by a zero byte. "
            f"The CRC has polynomial 0x{CRC_POLYNOMIAL:04X}, takes the highest bit first, starts "
            f"with 0x{CRC_START:04X}, and 0x{CRC_INVERSION:04X} is added modulo 2 in the end. At "
            f"most {WINDOW} requests are open; `dyncc.arch.link` has the rules."
        ),
        "Header of a request:",
        byte_table(REQUEST),
        "Header of an answer:",
        byte_table(RESPONSE),
        code_table(Status),
        "## Requests",
        code_table(packets.Opcode),
        (
            f"A stimulus word with bit {packets.STEPS_BIT} set is a number of steps, of which the "
            "first gets the spikes before it; without, it is an input line that spikes. A log word "
            f"with bit {packets.STEP_END_BIT} set ends a step, and its lowest bit says whether "
            "dynamic termination decided; without, it is a neuron that fired. This device holds "
            f"{packets.queue_words(spec)} stimulus words and {packets.log_words(spec)} log words."
        ),
        "Answer to `PING`, after the nonce:",
        _values(packets.INFO, packets.device_info(spec, link or LinkSpec())),
        "Answer to `SNAPSHOT`:",
        byte_table(packets.SNAPSHOT),
    ]
    return "\n\n".join(sections) + "\n"


def _memories(spec: CoreSpec) -> str:
    rows = [
        (
            space.value,
            f"`{space.name}`",
            memory_depth(spec, space),
            memory_bits(spec, space),
            bus_words(spec, space),
            space.meaning,
        )
        for space in spaces(spec)
    ]
    return table(("Space", "Name", "Words", "Bits", "Parts", "Holds"), rows)


def _layouts(spec: CoreSpec) -> list[str]:
    found = []
    for space, layout, meaning in (
        (Space.WEIGHTS, synapse_fields(spec), f"{spec.lanes} such synapses, the first lowest"),
        (Space.ROWS, row_fields(spec), "where a source's synapses are"),
        (Space.STATE, state_fields(spec), "a neuron"),
        (Space.PARAMETERS, parameter_fields(spec), "a parameter set"),
    ):
        if space in spaces(spec):
            found += [f"A word of `{space.name}`, {meaning}:", layout_table(layout)]
    return found


def _registers(layout: tuple[Field, ...]) -> str:
    rows = [
        (index, f"`{item.name}`", item.bits, "signed" if item.signed else "unsigned", item.meaning)
        for index, item in enumerate(layout)
    ]
    return table(("Index", "Name", "Bits", "Kind", "Meaning"), rows)


def _values(layout: tuple[Field, ...], values: dict[str, int]) -> str:
    rows = [
        (f"`{item.name}`", 4 + 4 * index, values[item.name], item.meaning)
        for index, item in enumerate(layout)
    ]
    return table(("Field", "Offset in bytes", "Here", "Meaning"), rows)


def _codes(*kinds: tuple[str, type]) -> list[str]:
    return [text for name, kind in kinds for text in (f"Values of `{name}`:", code_table(kind))]

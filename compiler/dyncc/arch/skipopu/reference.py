"""The page that describes instructions, formats and instances of SkipOPU."""

from __future__ import annotations

from dataclasses import fields

from dyncc.arch.reference import byte_table, code_table, layout_table, table
from dyncc.arch.skipopu import csr, formats, isa, packets
from dyncc.arch.skipopu.packing import SCHEMES
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec

_REGISTERS = (
    f"{csr.REGISTERS} registers of 64 bits, as words of {csr.WORD_BITS} bits: register n has the "
    "words 2 n (lower) and 2 n + 1 (upper). Reading a lower word keeps the upper one for the next "
    "read of an upper word. A register of more than 32 bits is written with its lower word first, "
    "and takes effect with the upper one. While a program runs, writes are ignored."
)


def page() -> str:
    """The page in Markdown."""
    sections = [
        "# SkipOPU: instructions and formats",
        "Written from the definitions in `dyncc.arch.skipopu` by `dyncc reference skipopu`.",
        "## Instructions",
        f"A word of {isa.INSTRUCTION_BITS} bits: a body of {isa.BODY_BITS} bits, lowest, then:",
        layout_table(isa.HEADER),
        code_table(isa.Op),
        code_table(isa.Pred),
        "Which engine carries out what:",
        table(
            ("Engine", "Instructions", "Works on"),
            [
                (
                    f"`{engine.name}`",
                    ", ".join(f"`{op.name}`" for op, its in isa.ENGINES.items() if its == engine),
                    engine.meaning,
                )
                for engine in isa.Engine
            ],
        ),
        "Registers with a fixed meaning:",
        table(("Register", "Holds"), [(f"`r{n}`", text) for n, text in isa.RESERVED.items()]),
        "## Bodies",
    ]
    for op, layout in isa.BODIES.items():
        used = tuple(item for item in layout if item.name != "reserved")
        if used:
            sections += [f"`{op.name}`: {op.meaning}", layout_table(used)]
    for code in (isa.SetMode, isa.LoadMode, isa.Function, isa.Trap):
        sections += [f"Values of {code.__name__}:", code_table(code)]
    sections += [
        "## Formats",
        code_table(formats.WeightType),
        code_table(formats.KvType),
        "Header of a matrix in memory:",
        layout_table(formats.MATRIX_HEADER),
        "## Control and status registers",
        _REGISTERS,
        table(
            ("Register", "Name", "Bits", "Written", "Meaning"),
            [
                (row.number, f"`{row.name}`", row.bits, "yes" if row.written else "", row.meaning)
                for row in csr.rows()
            ],
        ),
        "`control`:",
        layout_table(csr.CONTROL),
        "`status`:",
        layout_table(csr.STATUS),
        code_table(csr.State),
        "`semaphores`:",
        layout_table(csr.SEMAPHORE_COUNTS),
        "`engine_...`:",
        layout_table(csr.ENGINE),
        "## Requests of a host",
        (
            "Frames, headers and their order are those of the link, which the "
            "[reference of NeuroCoreX](neurocorex-reference.md) shows. Numbers are little-endian."
        ),
        code_table(packets.Opcode),
        (
            "`PLACE`, with which all but `PING` begin; at most "
            f"{packets.MAX_WORDS} words or {packets.MAX_BYTES} bytes are read or written at once:"
        ),
        byte_table(packets.PLACE),
        f"Word {packets.OWN_WORD}, behind those of the registers:",
        layout_table(packets.OWN),
        "Answer to `PING`, after the nonce:",
        byte_table(packets.INFO),
        "## Packing",
        table(
            ("Scheme", "Multiplier", "Weights at", "Activations at", "Weights", "Activations",
             "Products", "Terms"),
            [
                (
                    f"`{scheme.name}`", scheme.target,
                    ", ".join(map(str, scheme.weight_offsets)),
                    ", ".join(map(str, scheme.activation_offsets)),
                    "{}..{}".format(*scheme.weight_range),
                    "{}..{}".format(*scheme.activation_range),
                    scheme.products, scheme.terms,
                )
                for scheme in SCHEMES.values()
            ],
        ),
        "## Instances",
        table(
            ("Size", *(f"`{name}`" for name in ARCHS)),
            [
                (f"`{item.name}`", *(_shown(getattr(spec, item.name)) for spec in ARCHS.values()))
                for item in fields(ArchSpec)
                if item.name != "name"
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, formats.KvType):
        return value.name
    return f"{value:,.0f}" if isinstance(value, float) else str(value)

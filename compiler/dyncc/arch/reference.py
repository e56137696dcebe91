"""Pages that describe layouts, written from the definitions that hardware and software read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dyncc.arch.fields import Code, Field


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns whose cells are all numbers are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [
        bool(cells) and all(row[column].lstrip("-").isdigit() for row in cells)
        for column in range(len(head))
    ]
    rule = "|".join("--:" if right else "---" for right in numeric)
    lines = [f"| {' | '.join(head)} |", f"|{rule}|"]
    lines += [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(lines)


def layout_table(layout: tuple[Field, ...]) -> str:
    """The fields of a word with their bits, the lowest first."""
    rows, low = [], 0
    for item in layout:
        high = low + item.bits - 1
        bits = str(low) if item.bits == 1 else f"{high}:{low}"
        kind = "signed" if item.signed else "unsigned"
        rows.append((f"`{item.name}`", bits, kind, item.meaning))
        low = high + 1
    return table(("Field", "Bits", "Kind", "Meaning"), rows)


def byte_table(layout: tuple[Field, ...]) -> str:
    """The fields of a packet with their byte offsets; fields that share a byte show their bits."""
    rows, low = [], 0
    for item in layout:
        offset = str(low // 8) if low % 8 == 0 and item.bits % 8 == 0 else f"{low // 8}.{low % 8}"
        rows.append((f"`{item.name}`", offset, item.bits, item.meaning))
        low += item.bits
    return table(("Field", "Offset in bytes", "Bits", "Meaning"), rows)


def code_table(kind: type[Code]) -> str:
    """The members of an enumeration."""
    rows = [(member.value, f"`{member.name}`", member.meaning) for member in kind]
    return table(("Value", "Name", "Meaning"), rows)

"""The file of an artifact that has the variants of regions for several samples, as text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dyncc.ir.hcfg import Block, Hcfg, Literal, Region, Return
from dyncc.ir.parser import parse
from dyncc.ir.text import to_text

FILE = "batch.hcfg"


def program_of(name: str, regions: Iterable[Region]) -> Hcfg:
    """A program that does nothing but have regions."""
    block = Block("b0", (), (), Return(Literal(None)))
    return Hcfg(name, (), (), (), {}, {"b0": block}, {region.name: region for region in regions})


def write_regions(path: Path, regions: Iterable[Region]) -> None:
    """Write regions as text."""
    path.write_text(to_text(program_of("batch", regions)), encoding="utf-8")


def read_regions(path: Path) -> Hcfg:
    """Read what `write_regions` wrote, as `program_of` has it."""
    return parse(path.read_text(encoding="utf-8"))

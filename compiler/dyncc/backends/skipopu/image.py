"""The memory image: where everything is, and the bytes of what does not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.formats import WeightType, kv_slot_bytes
from dyncc.arch.skipopu.matrices import HEADER_BYTES, matrix_bytes, quantise, to_memory
from dyncc.arch.skipopu.spec import ArchSpec
from dyncc.backends.skipopu.plan import DecoderPlan
from dyncc.core.errors import ConfigError

#: Everything starts at a multiple of this.
ALIGNMENT = 64


@dataclass(frozen=True)
class Stored:
    """A matrix as it is stored.

    Attributes
    ----------
    kind
        Its format.
    rows, columns
        Its shape.
    data
        Groups of each row, uint8 of shape (rows, bytes).
    """

    kind: WeightType
    rows: int
    columns: int
    data: NDArray[numpy.uint8]


@dataclass(frozen=True)
class Region:
    """A part of memory.

    Attributes
    ----------
    name
        What it holds.
    address, size
        In bytes.
    writable
        Whether programs write it.
    """

    name: str
    address: int
    size: int
    writable: bool = False


@dataclass(frozen=True)
class MemoryMap:
    """Where everything is.

    Attributes
    ----------
    regions
        By name: ``tokens``, ``result``, ``logits``, ``rotations``, the names of norms and matrices,
        ``router.N`` of layer N, ``table``, ``pool``.
    slots
        Slots of the pool.
    size
        Bytes in all.
    """

    regions: Mapping[str, Region]
    slots: int
    size: int

    def address(self, name: str) -> int:
        """Address of a region."""
        return self.regions[name].address

    @property
    def writable(self) -> list[range]:
        """Addresses that programs may write."""
        return [
            range(region.address, region.address + region.size)
            for region in self.regions.values()
            if region.writable
        ]


def memory_map(
    plan: DecoderPlan, arch: ArchSpec, matrices: Mapping[str, Stored], slots: int | None = None
) -> MemoryMap:
    """Lay out memory.

    Parameters
    ----------
    slots
        Keys and values that the pool holds; by default those of all layers and positions.
    """
    slots = len(plan.layers) * plan.context if slots is None else slots
    logits = 4 * arch.tokens * plan.vocabulary
    slot = kv_slot_bytes(arch.kv, plan.kv_heads, plan.head_size)
    regions: dict[str, Region] = {}
    end = 0

    def add(name: str, size: int, writable: bool = False) -> None:
        nonlocal end
        regions[name] = Region(name, end, size, writable)
        end = -(-(end + size) // ALIGNMENT) * ALIGNMENT

    add("tokens", 4 * arch.tokens)
    add("result", 8 * arch.tokens, True)
    add("logits", logits, True)
    add("rotations", 4 * plan.head_size * plan.context)
    for name in _norms(plan):
        add(name, 4 * plan.width)
    for name, matrix in matrices.items():
        add(name, HEADER_BYTES + matrix.data.size)
    for index, layer in enumerate(plan.layers):
        if layer.router_attention is not None or layer.router_mlp is not None:
            add(f"router.{index}", matrix_bytes(WeightType.BFP16, 4, plan.width, arch.block))
    add("table", 4 * len(plan.layers) * plan.context, True)
    add("pool", slots * slot, True)
    return MemoryMap(regions, slots, end)


def contents(
    plan: DecoderPlan,
    arch: ArchSpec,
    places: MemoryMap,
    matrices: Mapping[str, Stored],
    vectors: Mapping[str, NDArray[Any]],
) -> Iterator[tuple[str, bytes]]:
    """What each region that does not change holds.

    Parameters
    ----------
    vectors
        Gains of norms and rows of routers, float32, by name.
    """
    yield "rotations", rotations(plan).tobytes()
    for name in _norms(plan):
        yield name, numpy.asarray(vectors[name], "<f4").tobytes()
    for name, matrix in matrices.items():
        try:
            yield name, to_memory(matrix.kind, arch.block, matrix.data)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.message}", hint=error.hint) from error
    for index, layer in enumerate(plan.layers):
        if f"router.{index}" in places.regions:
            rows = numpy.zeros((4, plan.width))
            for first, router in ((0, layer.router_attention), (2, layer.router_mlp)):
                if router is not None:
                    rows[first : first + 2] = vectors[router]
            kind = WeightType.BFP16
            yield f"router.{index}", to_memory(kind, arch.block, quantise(kind, rows, arch.block))


def rotations(plan: DecoderPlan) -> NDArray[numpy.float32]:
    """Cosines, then sines, of every position: float32 of shape (context, head_size)."""
    half = numpy.arange(0, plan.head_size, 2, dtype=numpy.float64) / plan.head_size
    angles = numpy.arange(plan.context)[:, None] * plan.rope_base**-half
    found = numpy.concatenate((numpy.cos(angles), numpy.sin(angles)), axis=1)
    rounded: NDArray[numpy.float32] = found.astype("<f4")
    return rounded


def _norms(plan: DecoderPlan) -> list[str]:
    names = [name for layer in plan.layers for name in (layer.norm_attention, layer.norm_mlp)]
    return [*names, plan.norm]

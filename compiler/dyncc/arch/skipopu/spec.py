"""Size of a SkipOPU, and its instances."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dyncc.arch.skipopu.formats import GROUPS, KvType, WeightType
from dyncc.arch.skipopu.matrices import matrix_bytes
from dyncc.core.errors import ConfigError

#: Sums of a block of a norm, and cycles up to which they have to be added all at once.
_NORM_SUMS, _NORM_PATIENCE = 5, 16


@dataclass(frozen=True)
class ArchSpec:
    """An instance of the overlay.

    Parameters
    ----------
    name
        What it is called on the command line.
    clk_hz
        Clock of the engines.
    rows, columns
        Multipliers of the PE array: outputs at once, and inputs at once.
    products
        Products that a multiplier makes in a cycle (see `dyncc.arch.skipopu.packing`).
    mantissa_bits
        Mantissas of activations: 6, 8, 10 or 12. Instances have 8 or 12.
    block
        Elements that share an exponent, and weights that share a scale: 32 or 128.
    kv
        How keys and values are stored.
    tokens
        Most tokens that are worked on together, a power of two up to 64.
    vector_words
        F25 numbers of the vector buffer for each token.
    blocks
        BFP blocks of the activation buffer for each token.
    kv_tokens
        Slots of keys and values of one layer that stay on chip.
    vector_lanes
        Elements that the vector engine works on in a cycle.
    memory_bytes_s
        Peak bandwidth of the memory port.
    memory_latency_cycles
        From a burst's command on the memory's bus to its first word. The memory port takes some
        more cycles for a request before its first burst.
    burst_bytes
        Largest transfer of one request.
    memory_requests
        Requests that are on their way at once; with one, each burst pays the latency.
    refresh_period_cycles, refresh_cycles
        The memory is busy with itself for `refresh_cycles` of every period; 0 and 0 for never.
    stream_bytes
        Buffer of the stream of matrices: what is requested, and not taken by the PE array or the
        router yet. It must hold the rows that the array works on together (`tile_rows`); the rest
        of it is what memory goes on with while the array waits for something else.
    kv_width
        Most numbers of a token's keys in a layer, all heads together; as many are its values.
    heads
        Most query heads.
    route_columns
        Most numbers of a vector that a router or a norm reads, and of the outputs of all heads.
    merge_lanes
        Numbers of a head's output that attention merges in a cycle.
    overlapped_heads
        Heads whose attention overlaps. With one, they go one after the other through all steps,
        which is what `dyncc_hw.skipopu.array.attention` builds. With more, the array turns to
        another head while scores become probabilities; the model of time takes as many as it needs
        to fill the array. Such instances are modelled only.
    """

    name: str
    clk_hz: int
    rows: int
    columns: int
    products: int
    mantissa_bits: int
    block: int
    kv: KvType
    tokens: int
    vector_words: int
    blocks: int
    kv_tokens: int
    vector_lanes: int
    memory_bytes_s: float
    memory_latency_cycles: int
    burst_bytes: int
    memory_requests: int
    refresh_period_cycles: int
    refresh_cycles: int
    stream_bytes: int
    kv_width: int
    heads: int
    route_columns: int
    merge_lanes: int
    overlapped_heads: int

    def __post_init__(self) -> None:
        ranges = {
            "clk_hz": (1, 10**9),
            "rows": (1, 1024),
            "columns": (1, 1024),
            "products": (1, 4),
            "tokens": (1, 64),
            "vector_words": (64, 1 << 20),
            "blocks": (1, 1 << 16),
            "kv_tokens": (0, 1 << 16),
            "vector_lanes": (1, 1024),
            "memory_latency_cycles": (0, 10**6),
            "burst_bytes": (1, 1 << 16),
            "memory_requests": (1, 1024),
            "refresh_period_cycles": (0, 10**6),
            "refresh_cycles": (0, max(0, self.refresh_period_cycles - 1)),
            "stream_bytes": (1, 1 << 26),
            "kv_width": (32, 1 << 16),
            "heads": (1, 1 << 10),
            "route_columns": (32, 1 << 16),
            "merge_lanes": (1, 1024),
            "overlapped_heads": (1, 1 << 10),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
            if not low <= value <= high:
                raise ConfigError(f"{name} must be an integer in {low}..{high}, not {value}")
        for name, allowed in (("mantissa_bits", (6, 8, 10, 12)), ("block", (32, 128))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {allowed}, not {getattr(self, name)}")
        if self.kv == KvType.BFP8 and self.block != 32:
            raise ConfigError(f"keys in BFP8 need blocks of 32, not of {self.block}")
        if self.tokens & (self.tokens - 1):
            raise ConfigError(f"tokens must be a power of two, not {self.tokens}")
        if not self.memory_bytes_s > 0:
            raise ConfigError(f"memory_bytes_s must be positive, not {self.memory_bytes_s}")

    @property
    def macs_per_cycle(self) -> int:
        """Products of a weight and an activation in a cycle."""
        return self.rows * self.columns * self.products

    def tile_rows(self, kind: WeightType) -> int:
        """Rows of a matrix that the array works on together: only 4-bit weights are packed."""
        return self.rows * (self.products if GROUPS[kind].weight_bits == 4 else 1)

    def tile_bytes(self, kind: WeightType, columns: int) -> int:
        """Bytes of the rows that the array works on together, with a matrix's header.

        Raises
        ------
        ConfigError
            If they do not fit the buffer of the stream.
        """
        rows = self.tile_rows(kind)
        size = matrix_bytes(kind, rows, columns, self.block)
        if size > self.stream_bytes:
            raise ConfigError(
                f"{rows} rows of {columns} in {kind.name} are {size} bytes, and the stream's "
                f"buffer of {self.name} has {self.stream_bytes}",
                hint="Choose a larger instance.",
            )
        return size

    @property
    def norm_turns(self) -> int:
        """Cycles in which the sums of a block are added: of squares, and of four routers' rows.

        Where a block takes long to come in they go one after the other, through one adder.
        """
        return _NORM_SUMS if self.block // self.vector_lanes > _NORM_PATIENCE else 1

    @property
    def memory_bytes_per_cycle(self) -> float:
        """Peak bandwidth in bytes a cycle."""
        return self.memory_bytes_s / self.clk_hz

    @property
    def bus_bytes(self) -> int:
        """Bytes of a word of the memory port: a power of two, 2 at least."""
        return 1 << max(1, (math.ceil(self.memory_bytes_per_cycle) - 1).bit_length())


#: Instances by name. The U280 has the figures of the SkipOPU paper (arXiv 2603.14785): 64 x 64
#: multipliers at 225 MHz, 460.8 GB/s; its memory is refreshed for 260 ns of every 3.9 us, as HBM2
#: channels of 4 Gbit are, which leaves 430 GB/s (425 GB/s were measured, Wang et al., FCCM 2020).
#: u280_g128 is sized for 7 billion weights: its stream's buffer is the least power of two that
#: holds the rows of the array at 11,008 columns; all buffers take 26 of the device's 43 MB.
#: ecp5_85f and ulx3s_4x4: 16-bit SDRAM of a ULX3S at the engines' clock, 8192 refreshes of 66 ns in
#: 64 ms. While one token is written, it gives 4 weights a cycle, which also 4 x 4 multipliers take.
ARCHS = {
    spec.name: spec
    for spec in (
        ArchSpec("ice40_2x2", 12_000_000, 2, 2, 2, 8, 32, KvType.BFP8, 1, 2048, 64, 0, 1,
                 24e6, 8, 64, 1, 0, 0, 8 << 10, 64, 4, 256, 1, 1),
        ArchSpec("ecp5_85f", 50_000_000, 8, 8, 2, 8, 32, KvType.BFP8, 1, 8192, 256, 64, 1,
                 100e6, 12, 512, 1, 390, 4, 32 << 10, 256, 16, 1024, 1, 1),
        ArchSpec("kv260_16x16", 200_000_000, 16, 16, 2, 12, 32, KvType.F16, 4, 8192, 512, 512, 4,
                 3.2e9, 60, 1024, 16, 1560, 60, 128 << 10, 1024, 32, 4096, 4, 1),
        ArchSpec("u280_16x16", 225_000_000, 16, 16, 2, 12, 32, KvType.F16, 8, 16384, 1024, 1024, 8,
                 14.4e9, 60, 4096, 16, 877, 59, 256 << 10, 4096, 64, 8192, 8, 1),
        ArchSpec("u280", 225_000_000, 64, 64, 2, 12, 32, KvType.F16, 32, 16384, 1024, 2048, 16,
                 460.8e9, 60, 4096, 64, 877, 59, 1 << 20, 4096, 64, 8192, 64, 64),
        ArchSpec("u280_g128", 225_000_000, 64, 64, 2, 12, 128, KvType.F16, 32, 65536, 256, 1024,
                 16, 460.8e9, 60, 4096, 64, 877, 59, 1 << 20, 4096, 64, 8192, 64, 64),
        ArchSpec("ulx3s_4x4", 25_000_000, 4, 4, 2, 8, 32, KvType.BFP8, 1, 8192, 256, 64, 1,
                 50e6, 12, 512, 1, 195, 2, 32 << 10, 256, 16, 1024, 1, 1),
    )
}  # fmt: skip

"""Tile sizes: what packing and schedules must agree on."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir

from dyncc.backends.tvm.knobs import pick
from dyncc.backends.tvm.target import Cpu

#: Below this many floating-point operations a second thread costs more than it brings.
PARALLEL_FLOPS = 400_000

#: Elements from which a second thread pays in code that computes little for each.
PARALLEL_ELEMENTS = 65_536

#: Block names by which a schedule finds its loops again after fusion.
CONV_ROWS = "dyncc_conv_rows"
CONV_CHANNELS = "dyncc_conv_channels"
MATMUL = "dyncc_matmul"
DEPTHWISE = "dyncc_depthwise"
DEPTHWISE_ROWS = "dyncc_depthwise_rows"
BATCHED = "dyncc_batched"
PANELS = "dyncc_panels"
PAD = "dyncc_pad"
PHASES = "dyncc_phases"
POOL = "dyncc_pool"
POOL_COLUMNS = "dyncc_pool_columns"
WINOGRAD = "dyncc_winograd"
#: The transforms before and behind the products of Winograd's convolution, in their order.
WINOGRAD_STEPS = tuple(f"{WINOGRAD}_{step}" for step in ("columns", "image", "rows", "results"))

#: Annotation of a kernel's block: the operator that it computes, as `ConvShape.operator` says it.
OPERATOR = "dyncc_operator"


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit` (and at least 1)."""
    return next(d for d in range(max(1, min(number, limit)), 0, -1) if number % d == 0)


def vector_divisor(number: int, lanes: int, vectors: int) -> int:
    """Return a divisor that fills at most `vectors` vectors, whole ones if it can (at least 1)."""
    whole = [lanes * count for count in range(vectors, 0, -1) if number % (lanes * count) == 0]
    return whole[0] if whole else largest_divisor(number, lanes * min(vectors, 2))


def extent(schedule: s_tir.Schedule, loop: s_tir.schedule.LoopRV) -> int:
    """Return a loop's extent, which must be known."""
    return int(schedule.get(loop).extent)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is not below `number`."""
    return -(-number // multiple) * multiple


@dataclass(frozen=True)
class ConvShape:
    """A two-dimensional convolution without dilation, in elements.

    Attributes
    ----------
    batch, inputs, outputs
        Batch size and channels.
    height, width
        Extent of the output.
    kernel, stride
        (height, width) of either.
    padding
        (top, left, bottom, right).
    """

    batch: int
    inputs: int
    outputs: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]

    def by_rows(self, cpu: Cpu) -> bool:
        """Whether vectors lie along an image row (else along output channels)."""
        # A stride needs the columns apart by their phase, which repays for few input channels.
        near = self.stride[1] == 1 or self.inputs <= 4
        whole = self.width % cpu.lanes == 0
        return bool(pick("by_rows", int(near and whole), (0, 1) if whole else ()))

    def block(self, cpu: Cpu) -> int:
        """Return how many output channels one tile computes."""
        lanes = cpu.lanes
        if self.by_rows(cpu):
            vectors = min(2, self.width // lanes)
            return largest_divisor(self.outputs, accumulators(cpu) // vectors)
        usual = lanes // 2 if self.outputs <= lanes // 2 else lanes
        return pick("block", usual, (2 * lanes,) if self.outputs > lanes else ())

    @property
    def operator(self) -> str:
        """What is computed, by which its layout is found again."""
        kernel, stride = ("x".join(map(str, pair)) for pair in (self.kernel, self.stride))
        padding = ",".join(map(str, self.padding))
        return (
            f"convolution {kernel} of {self.inputs} to {self.outputs} channels of "
            f"{self.height}x{self.width}, batch {self.batch}, stride {stride}, padding {padding}"
        )


def accumulators(cpu: Cpu) -> int:
    """Return how many vector registers a tile may accumulate in."""
    return 8 if cpu.registers <= 16 else 16


def most_accumulators(cpu: Cpu) -> int:
    """Return with how many a search may try; some registers are needed for what is read."""
    return cpu.registers - 4


def tile_rows(rows: int, most: int) -> int:
    """Return how many rows a tile of a product has, at most `most`.

    The last tile may be partly padding: few rows should be, and a panel be read by few tiles.
    """
    return min(range(min(rows, most), 0, -1), key=lambda tile: -(-rows // tile) * (tile + 1))


@dataclass(frozen=True)
class MatmulShape:
    """A product of (rows, inner) and a packed weight (inner, columns)."""

    rows: int
    inner: int
    columns: int

    def block(self, cpu: Cpu) -> int:
        """Return how many columns one tile computes; packing pads columns to a multiple."""
        lanes = cpu.lanes
        if self.columns <= lanes:
            return lanes
        wide = 4 if self.rows == 1 else 2
        # Padding by more than an eighth wastes more than a wider tile saves.
        fitting = [
            vectors * lanes
            for vectors in range(4, 0, -1)
            if vectors == 1
            or (round_up(self.columns, vectors * lanes) - self.columns) * 8 <= self.columns
        ]
        return pick("block", next(block for block in fitting if block <= wide * lanes), fitting)

    def tile(self, cpu: Cpu, block: int) -> int:
        """Return how many rows one tile computes, with `block` columns."""
        return tile_rows(self.rows, max(1, accumulators(cpu) // (block // cpu.lanes)))

    @property
    def operator(self) -> str:
        """What is computed, by which its layout is found again."""
        return f"product {self.rows}x{self.inner} by {self.inner}x{self.columns}"

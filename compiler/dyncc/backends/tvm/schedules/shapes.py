"""Tile sizes: what packing and schedules must agree on."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir

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
BATCHED = "dyncc_batched"
PANELS = "dyncc_panels"
PAD = "dyncc_pad"
PHASES = "dyncc_phases"


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
        return near and self.width % cpu.lanes == 0

    def block(self, cpu: Cpu) -> int:
        """Return how many output channels one tile computes."""
        if self.by_rows(cpu):
            vectors = min(2, self.width // cpu.lanes)
            return largest_divisor(self.outputs, accumulators(cpu) // vectors)
        half = cpu.lanes // 2
        return half if self.outputs <= half else cpu.lanes


def accumulators(cpu: Cpu) -> int:
    """Return how many vector registers a tile may accumulate in."""
    return 8 if cpu.registers <= 16 else 16


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
        for vectors in range(wide, 1, -1):
            padded = round_up(self.columns, vectors * lanes)
            if (padded - self.columns) * 8 <= self.columns:
                return vectors * lanes
        return lanes

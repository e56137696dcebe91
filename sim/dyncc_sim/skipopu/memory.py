"""Memory of the simulated machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import Trap
from dyncc_sim.skipopu.trap import Fault


class Memory:
    """Bytes, of which a program may write some.

    Parameters
    ----------
    size
        Bytes.
    writable
        Ranges of addresses that may be written; None for all.
    """

    def __init__(self, size: int, writable: Sequence[range] | None = None) -> None:
        self.content: NDArray[numpy.uint8] = numpy.zeros(size, numpy.uint8)
        self.writable = (range(size),) if writable is None else tuple(writable)
        self.bytes_read = self.bytes_written = 0

    def load(self, address: int, content: Any) -> None:
        """Put bytes in place before a program runs, whatever may be written."""
        data = numpy.frombuffer(content, numpy.uint8)
        if not 0 <= address <= len(self.content) - len(data):
            raise ValueError(f"{len(data)} bytes at {address} do not fit {len(self.content)}")
        self.content[address : address + len(data)] = data

    @staticmethod
    def check(address: int, count: int) -> None:
        """Whether the port carries out a request; raises Fault if it is odd or empty."""
        if not count or address % 2:
            what = "an odd address" if count else "nothing"
            raise Fault(Trap.MEMORY, f"request for {count} bytes at {address:#x}: {what}")

    def read(self, address: int, count: int, counted: bool = True) -> NDArray[numpy.uint8]:
        """A view of bytes; raises Fault outside of memory.

        Parameters
        ----------
        counted
            Whether they pass through the port, which raises Fault too, see `check`; not so what is
            on chip already.
        """
        if counted:
            self.check(address, count)
        if address < 0 or address + count > len(self.content):
            raise Fault(
                Trap.MEMORY, f"read of {count} bytes at {address:#x}, beyond {len(self.content):#x}"
            )
        if counted:
            self.bytes_read += count
        return self.content[address : address + count]

    def rows(self, address: int, stride: int, numbers: NDArray[Any], size: int) -> Any:
        """Copies of rows of a table; raises Fault outside of memory. Not counted.

        Parameters
        ----------
        stride
            Bytes from a row to the next.
        numbers
            Of the rows, int of shape (rows,), not negative.
        size
            Bytes of a row.

        Returns
        -------
        uint8 of shape (rows, size)
        """
        if not len(numbers):
            return numpy.zeros((0, size), numpy.uint8)
        last = int(numbers.max())
        self.read(address + stride * last, size, counted=False)
        table = self.read(address, stride * last + size, counted=False)
        return as_strided(table, (last + 1, size), (stride, 1), writeable=False)[numbers]

    def write(self, address: int, data: NDArray[numpy.uint8]) -> None:
        """Write bytes; raises Fault outside of what may be written, and as `check`."""
        self.check(address, len(data))
        end = address + len(data)
        if not any(part.start <= address and end <= part.stop for part in self.writable):
            raise Fault(Trap.MEMORY, f"write of {len(data)} bytes at {address:#x} is not allowed")
        self.bytes_written += len(data)
        self.content[address:end] = data

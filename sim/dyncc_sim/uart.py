"""The other end of a serial line, as a waveform in time: it knows nothing of the device's clock."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, Timer


class UartLine:
    """Sends on one signal and listens to another: 8 data bits, no parity, one stop bit.

    Parameters
    ----------
    rx, tx
        The device's pins.
    bit_ps
        Duration of a bit in picoseconds, as the device has it.
    error
        Relative error of the bits that are sent; 0.02 makes them longer than the device's.
    """

    def __init__(self, rx: Any, tx: Any, bit_ps: float, error: float = 0.0) -> None:
        self._rx, self._tx = rx, tx
        self.bit_ps = bit_ps
        self.error = error
        self.received = bytearray()
        rx.value = 1

    def listen(self) -> None:
        """Begin to take bytes from the device."""
        cocotb.start_soon(self._listen())

    async def send(self, content: bytes) -> None:
        """Send bytes, without a gap."""
        for byte in content:
            await self.send_bits([0, *(byte >> place & 1 for place in range(8)), 1])

    async def send_bits(self, bits: list[int], length: float = 1.0) -> None:
        """Send levels, each for a bit's time or a part of it; the line stays at the last one."""
        bit_ps = self.bit_ps * (1 + self.error) * length
        passed = 0
        for place, bit in enumerate(bits, 1):
            self._rx.value = bit
            # Of the times since the first bit, so that rounding does not add up.
            until = round(place * bit_ps)
            await Timer(until - passed, "ps")
            passed = until

    async def idle(self, bits: float) -> None:
        """Let the line rest at its level, for some bits' time."""
        await Timer(round(bits * self.bit_ps), "ps")

    async def take(self, timeout_bits: int) -> bytes:
        """What the device sent since it was asked last, once it was silent for some bits' time."""
        while True:
            before = len(self.received)
            await self.idle(timeout_bits)
            if len(self.received) == before:
                taken = bytes(self.received)
                self.received.clear()
                return taken

    async def _listen(self) -> None:
        bit_ps = self.bit_ps
        while True:
            await FallingEdge(self._tx)
            await Timer(round(1.5 * bit_ps), "ps")
            byte = 0
            for place in range(8):
                byte |= int(self._tx.value) << place
                await Timer(round(bit_ps), "ps")
            assert self._tx.value == 1, "the device sent a byte without a stop bit"
            self.received.append(byte)

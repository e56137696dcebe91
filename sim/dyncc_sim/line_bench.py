"""Lets a program outside of the simulator speak with a device over its pins."""

from __future__ import annotations

import socket
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event

from dyncc.arch.link import DELIMITER, LinkSpec
from dyncc_sim.runner import settings
from dyncc_sim.simulated_line import COMMAND, HEARD, LISTEN, SEND, receive
from dyncc_sim.uart import UartLine

CLOCK_NS = 10


class Server:
    """The device's end: sends and listens as it is told."""

    def __init__(self, dut: Any, line: socket.socket) -> None:
        options = settings()
        self.dut, self._line, self._link = dut, line, LinkSpec(**options["link"])
        self._uart = UartLine(dut.rx, dut.tx, 1000 * CLOCK_NS * self._link.divisor)
        self._silence = options["silence"]
        self._cycles = 0
        self._to_send = bytearray()
        self._sending, self._more = False, Event()

    async def start(self) -> None:
        """Clock and reset, and what sends and listens."""
        dut = self.dut
        Clock(dut.clk, CLOCK_NS, "ns").start()
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)
        self._uart.listen()
        cocotb.start_soon(self._send())

    async def serve(self) -> None:
        """Carry out commands until the program hangs up."""
        while True:
            try:
                command, size = COMMAND.unpack(receive(self._line, COMMAND.size))
                if command == SEND:
                    self._to_send += receive(self._line, size)
                    self._more.set()
                elif command == LISTEN:
                    content = await self._listen(size)
                    self._line.sendall(HEARD.pack(self._cycles, len(content)) + content)
                else:
                    await self.other(command, size)
            except ConnectionError:
                return

    async def other(self, command: bytes, number: int) -> None:
        """Carry out a command that only some devices know."""
        raise ValueError(f"no device knows {command!r} {number}")

    async def _send(self) -> None:
        while True:
            while self._to_send:
                self._sending = True
                content, self._to_send = bytes(self._to_send), bytearray()
                await self._uart.send(content)
            self._sending = False
            self._more.clear()
            await self._more.wait()

    async def _listen(self, cycles: int) -> bytes:
        """What came within so many cycles; returns when a frame is complete."""
        end, quiet = self._cycles + cycles, 0
        byte_cycles = 10 * self._link.divisor
        received = self._uart.received
        while DELIMITER not in received and self._cycles < end:
            before = len(received)
            step = min(byte_cycles, end - self._cycles)
            await self._uart.idle(step / self._link.divisor)
            self._cycles += step
            active = self._sending or self._to_send or self.dut.busy.value
            quiet = 0 if active or len(received) != before else quiet + step
            if quiet >= self._silence:
                self._cycles = end
        found = bytes(received)
        received.clear()
        return found


async def serve(dut: Any, kind: type[Server]) -> None:
    """Serve the program that waits at the other end of the options' ``path``."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(settings()["path"])
        server = kind(dut, line)
        await server.start()
        await server.serve()


@cocotb.test()
async def run(dut: Any) -> None:
    """A device and its line."""
    await serve(dut, Server)

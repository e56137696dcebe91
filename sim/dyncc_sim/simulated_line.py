"""A device in a simulator, as a line that a program speaks over."""

from __future__ import annotations

import socket
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event

from dyncc.arch.link import DELIMITER, LinkSpec
from dyncc.core.errors import DynccError, ToolError
from dyncc.link import Transport
from dyncc_sim.runner import run_bench, settings
from dyncc_sim.uart import UartLine

CLOCK_NS = 10
#: What the program says to the simulation: send so many bytes, or listen for so many cycles.
SEND, LISTEN = b"S", b"L"
COMMAND = struct.Struct("<cQ")
#: What it answers to LISTEN: cycles that passed since the start, and how many bytes follow.
HEARD = struct.Struct("<QQ")
#: As few cycles of simulation for a bit as a receiver needs.
FASTEST = LinkSpec(clk_hz=12_000_000, baud=3_000_000)


class SimulatedLine(Transport):
    """A device in Verilator; bytes reach it as waveforms on its pins.

    The clock stands still but while the program listens, and skips what is left of that time when
    the device has nothing more to do. So a run is the same each time, and waiting costs nothing.

    Parameters
    ----------
    device
        A component with ``rx``, ``tx`` and ``busy``.
    link
        The device's side of the link.
    silence
        Cycles after which a device that is not busy, and has not answered, will not.
    options
        More for a bench.
    bench
        Module with a test that calls `serve`.

    Raises
    ------
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """

    def __init__(
        self, device: Any, link: LinkSpec, silence: int, options: Mapping[str, Any] | None = None,
        bench: str = "dyncc_sim.line_bench",
    ) -> None:  # fmt: skip
        self.name, self.baud = "simulated device", link.baud
        self._device, self._link, self._bench = device, link, bench
        self._folder = tempfile.TemporaryDirectory(prefix="dyncc.")
        path = str(Path(self._folder.name) / "line")
        self._options = {
            **(options or {}), "link": asdict(link), "path": path, "silence": silence,
        }  # fmt: skip
        self._cycles = 0
        self._error: DynccError | None = None
        self._thread = Thread(target=self._simulate, daemon=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(0.1)
            self._thread.start()
            try:
                self._line = self._accept(listener)
            except BaseException:
                self._folder.cleanup()
                raise

    def _simulate(self) -> None:
        """Build and run the simulator, until the program hangs up."""
        try:
            run_bench(self._device, self._bench, self._options)
        except DynccError as error:
            self._error = error

    def _accept(self, listener: socket.socket) -> socket.socket:
        while True:
            try:
                line, _ = listener.accept()
            except TimeoutError:
                if not self._thread.is_alive():
                    raise self._failure() from None
            else:
                line.settimeout(None)
                return line

    def _failure(self) -> DynccError:
        self._thread.join()
        return self._error or ToolError("the simulation ended")

    def write(self, content: bytes) -> None:
        """Send bytes, when time passes."""
        try:
            self._line.sendall(COMMAND.pack(SEND, len(content)) + content)
        except OSError as error:
            raise self._failure() from error

    def read(self, timeout: float) -> bytes:
        """Let time pass until a frame came, or it is over."""
        cycles = max(1, round(timeout * self._link.clk_hz))
        try:
            self._line.sendall(COMMAND.pack(LISTEN, cycles))
            self._cycles, size = HEARD.unpack(receive(self._line, HEARD.size))
            return receive(self._line, size)
        except OSError as error:
            raise self._failure() from error

    def now(self) -> float:
        """Seconds of the device."""
        return self._cycles / self._link.clk_hz

    def close(self) -> None:
        """End the simulation."""
        self._line.close()
        self._thread.join()
        self._folder.cleanup()


def receive(line: socket.socket, size: int) -> bytes:
    """So many bytes; raises ConnectionError if the other side hung up before."""
    found = bytearray()
    while len(found) < size:
        part = line.recv(size - len(found))
        if not part:
            raise ConnectionError("the other side hung up")
        found += part
    return bytes(found)


class Server:
    """The device's end: sends and listens as it is told."""

    def __init__(self, dut: Any, line: socket.socket) -> None:
        options = settings()
        self._dut, self._line, self._link = dut, line, LinkSpec(**options["link"])
        self._uart = UartLine(dut.rx, dut.tx, 1000 * CLOCK_NS * self._link.divisor)
        self._silence = options["silence"]
        self._cycles = 0
        self._to_send = bytearray()
        self._sending, self._more = False, Event()

    async def start(self) -> None:
        """Clock and reset, and what sends and listens."""
        dut = self._dut
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
            except ConnectionError:
                return

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
            active = self._sending or self._to_send or self._dut.busy.value
            quiet = 0 if active or len(received) != before else quiet + step
            if quiet >= self._silence:
                self._cycles = end
        found = bytes(received)
        received.clear()
        return found


async def serve(dut: Any) -> None:
    """Let the program that waits at the other end of the options' ``path`` speak with a device."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(settings()["path"])
        server = Server(dut, line)
        await server.start()
        await server.serve()

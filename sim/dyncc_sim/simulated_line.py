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

from dyncc.arch.link import LinkSpec
from dyncc.core.errors import DynccError, ToolError
from dyncc.link import Transport
from dyncc_sim.runner import run_bench

#: What the program says to the simulation: send so many bytes, or listen for so many cycles.
SEND, LISTEN = b"S", b"L"
COMMAND = struct.Struct("<cQ")
#: What it answers to LISTEN: cycles that passed since the start, and how many bytes follow.
HEARD = struct.Struct("<QQ")
BENCH = "dyncc_sim.line_bench"
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
    bench
        Module of the bench that plays whatever is around the device, see `line_bench`.
    options
        More settings for it.

    Raises
    ------
    MissingToolError, ToolError
        If the simulator is missing or fails.
    """

    def __init__(
        self, device: Any, link: LinkSpec, silence: int, bench: str = BENCH,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.baud = "simulated device", link.baud
        self._device, self._link, self._bench = device, link, bench
        self._folder = tempfile.TemporaryDirectory(prefix="dyncc.")
        path = str(Path(self._folder.name) / "line")
        self._options = {
            "link": asdict(link), "path": path, "silence": silence, **(options or {}),
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

    def tell(self, command: bytes, number: int) -> None:
        """Say something else to the bench, see `line_bench.Server.other`."""
        try:
            self._line.sendall(COMMAND.pack(command, number))
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

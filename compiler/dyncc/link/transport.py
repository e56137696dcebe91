"""Lines to a device: a serial port, or a function that stands for the device."""

from __future__ import annotations

import errno
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import serial
from serial.tools import list_ports

from dyncc.core.errors import ConfigError, LinkError

BITS_OF_A_BYTE = 10  # 8N1: with start and stop bit
#: What an engine at a serial port is called, before the port; and its rate unless said.
SERIAL, BAUD = "serial:", 1_000_000


def serial_port(engine: str) -> tuple[str, int]:
    """Port and baud rate of ``serial:PORT@BAUD`` or ``serial:PORT``; raises ConfigError."""
    text = engine.removeprefix(SERIAL)
    port, at, baud = text.rpartition("@")
    if not at:
        port, baud = text, str(BAUD)
    if not port:
        raise ConfigError(f"{engine!r} names no port", hint="Such as serial:/dev/ttyUSB0@1000000.")
    if not baud.isdecimal() or not int(baud):
        raise ConfigError(f"the baud rate must be a positive integer, not {baud!r}")
    return port, int(baud)


class Transport(ABC):
    """A line. It has a clock of its own, so that waiting costs nothing where nothing can come.

    Attributes
    ----------
    name
        What it leads to, for messages.
    baud
        Bits in a second on the line.
    """

    name: str
    baud: int

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Send bytes."""

    @abstractmethod
    def read(self, timeout: float) -> bytes:
        """Take what came; waits up to so many seconds for the first byte, and may return none."""

    @abstractmethod
    def now(self) -> float:
        """Seconds on the line's clock."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the line; calling it again does nothing."""

    def seconds(self, count: int) -> float:
        """Time on the line of so many bytes."""
        return count * BITS_OF_A_BYTE / self.baud


class SerialTransport(Transport):
    """A serial port, by its name or by a URL of pyserial such as ``socket://host:port``.

    Parameters
    ----------
    port
        Such as ``/dev/ttyUSB0``, ``COM3``, or a URL.
    baud
        Bits in a second; what the device was built for.

    Raises
    ------
    ConfigError
        If there is no such port.
    LinkError
        If it cannot be opened.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        self.name, self.baud = port, baud
        try:
            self._port: Any = serial.serial_for_url(port, do_not_open=True)
            if isinstance(self._port, serial.Serial):
                # Two programs on one line would take each other's answers.
                self._port.exclusive = True
            self._port.baudrate = baud
            # Long enough for whatever a session has open at once.
            self._port.write_timeout = 5.0
            self._port.open()
        except (OSError, ValueError) as error:
            raise _cannot_open(port, baud, error) from error

    def write(self, content: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write(content)
        except OSError as error:
            raise LinkError(f"{self.name} takes no bytes: {error}") from error

    def read(self, timeout: float) -> bytes:
        """Take what came."""
        try:
            # A change of the timeout sets up the port anew; so most waits are of one length.
            wanted = min(timeout, 0.01) if timeout > 0 else 0
            if self._port.timeout != wanted:
                self._port.timeout = wanted
            found: bytes = self._port.read(1)
            while found and (more := self._port.in_waiting):
                found += self._port.read(more)
        except OSError as error:
            raise LinkError(
                f"{self.name} is gone: {error}", hint="Was the device unplugged?"
            ) from error
        return found

    def now(self) -> float:
        """Seconds on the computer's clock."""
        return time.monotonic()

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def _cannot_open(port: str, baud: int, error: OSError | ValueError) -> Exception:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        known = [item.device for item in list_ports.comports()]
        return ConfigError(
            f"there is no serial port {port}",
            hint=f"There are: {', '.join(known)}." if known else "There is none at all.",
        )
    if number == errno.EACCES:
        return LinkError(
            f"{port} may not be opened by this user",
            hint="On Linux, join the group that owns it: sudo usermod -a -G dialout $USER",
        )
    if number in (errno.EAGAIN, errno.EBUSY):
        return LinkError(f"{port} is in use by another program")
    if isinstance(error, serial.SerialException):
        return LinkError(f"{port} cannot be opened: {error}")
    return ConfigError(f"{port} cannot be opened with {baud} baud: {error}")


class DirectTransport(Transport):
    """Hands bytes to a function in this process, and takes what it returns.

    Its clock moves as bytes pass, and in waiting.

    Parameters
    ----------
    receive
        Takes bytes that were sent, and returns those that come back; also called with none, when
        something is waited for.
    """

    def __init__(
        self, receive: Callable[[bytes], bytes], name: str = "device", baud: int = 1_000_000
    ) -> None:
        self.name, self.baud = name, baud
        self._receive = receive
        self._time = 0.0
        self._waiting = b""

    def write(self, content: bytes) -> None:
        """Hand over bytes."""
        self._time += self.seconds(len(content))
        self._waiting += self._receive(content)

    def read(self, timeout: float) -> bytes:
        """Take what came back."""
        found, self._waiting = self._waiting or self._receive(b""), b""
        self._time += self.seconds(len(found)) if found else timeout
        return found

    def now(self) -> float:
        """Seconds that the bytes took, and that were waited."""
        return self._time

    def close(self) -> None:
        """Nothing is held."""

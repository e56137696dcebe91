"""Speaking with a device over a line that may lose, damage, repeat and reorder what it carries.

`dyncc.arch.link` has the rules; `Session` keeps them for the host, over any `Transport`.
"""

from __future__ import annotations

from dyncc.link.faults import FaultyTransport
from dyncc.link.protocol import Protocol, Request, Statistics
from dyncc.link.session import Session
from dyncc.link.transport import (
    SERIAL,
    DirectTransport,
    SerialTransport,
    Transport,
    serial_port,
)

__all__ = [
    "SERIAL",
    "DirectTransport",
    "FaultyTransport",
    "Protocol",
    "Request",
    "SerialTransport",
    "Session",
    "Statistics",
    "Transport",
    "serial_port",
]

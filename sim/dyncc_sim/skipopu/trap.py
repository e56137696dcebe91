"""Programs that are stopped."""

from __future__ import annotations

from dyncc.arch.skipopu.isa import Trap
from dyncc.core.errors import UserError


class TrapError(UserError):
    """A program was stopped.

    Attributes
    ----------
    trap
        Why.
    pc
        Place of the instruction in the program.
    engines
        What each engine was doing.
    """

    def __init__(self, trap: Trap, pc: int, detail: str, engines: str = "") -> None:
        self.trap, self.pc, self.engines = trap, pc, engines
        super().__init__(
            f"trap {trap.name} at instruction {pc}: {detail}",
            hint=engines or None,
        )


class Fault(Exception):
    """An instruction cannot be carried out; the machine makes a `TrapError` of it."""

    def __init__(self, trap: Trap, detail: str) -> None:
        super().__init__(detail)
        self.trap, self.detail = trap, detail

"""What a compilation may ask of tuning; docs/tuning.md is the manual."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from dyncc.core.errors import ConfigError

#: Environment variable that names a database for all commands.
VARIABLE = "DYNCC_DATABASE"

#: The name of no database at all.
NONE = "none"


@dataclass(frozen=True)
class Tuning:
    """Whether to search for faster code, where, and what keeps what is found.

    Attributes
    ----------
    seconds
        How long to search before the network is compiled, all in all; None for no search.
    database
        File that has what searches found and gets what this one finds; `NONE` for none, None for
        the one that the environment names, or the user's.
    rpc
        ``HOST:PORT:KEY`` of TVM's RPC tracker and of the machines that measure; None for this one.

    Raises
    ------
    ConfigError
        If these do not go together.
    """

    seconds: float | None = None
    database: str | None = None
    rpc: str | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ConfigError(f"--tune takes a number of seconds above 0, not {self.seconds}")
        if self.rpc is None:
            return
        if self.seconds is None:
            raise ConfigError("--rpc says where --tune measures", hint="Give --tune SECONDS.")
        self.address()

    def address(self) -> tuple[str, int, str]:
        """Host, port and key of `rpc`, which must be given."""
        parts = (self.rpc or "").split(":")
        if len(parts) != 3 or not all(parts) or not parts[1].isdigit():
            raise ConfigError(
                f"--rpc takes HOST:PORT:KEY, not {self.rpc!r}",
                hint="For example 192.168.1.2:9190:rpi4.",
            )
        return parts[0], int(parts[1]), parts[2]


_given: ContextVar[str | None] = ContextVar("database", default=None)


@contextmanager
def using(tuning: Tuning | None) -> Iterator[None]:
    """Let compilations use the database that was asked for."""
    token = _given.set(None if tuning is None else tuning.database)
    try:
        yield
    finally:
        _given.reset(token)


def database_path() -> Path | None:
    """The database in use: of `using`, or that which `VARIABLE` names, or the user's own.

    Returns
    -------
    Path or None
        None if what is named is `NONE`.
    """
    chosen = _given.get() or os.environ.get(VARIABLE)
    if chosen:
        return None if chosen == NONE else Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "dyncc" / "tuning.json"

"""Objects that live in a process of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")

#: Characters of a message that a table can show.
_LONGEST = 300


class Failed(Exception):
    """What a peer could not do.

    Parameters
    ----------
    message
        The type and the first line of the error, for a table.
    details
        The whole of it.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)
        self.message = message
        self.details = details


def message_of(error: BaseException) -> str:
    """The type of an error and the first line of its text that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    first = next((line for line in lines if any(sign.isalnum() for sign in line)), "")
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class Child:
    """An object in a new process, whose methods are called from here, one after the other.

    Parameters
    ----------
    make
        Makes the object, in the new process; must be importable.
    log
        File that gets what the process prints.
    environment
        Variables of the new process, beside those of this one.
    """

    def __init__(
        self, make: Callable[[], object], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=_serve, args=(make, theirs, log, dict(environment or {})), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether it can be called."""
        return not self._connection.closed

    def call(self, method: str, *args: Any, timeout: float) -> Any:
        """Call a method.

        Raises
        ------
        Failed
            If it raises, takes longer than `timeout` seconds, or the process dies. It cannot be
            called again in the latter two cases.
        """
        self.begin(method, *args)
        return self.finish(timeout)

    def begin(self, method: str, *args: Any) -> None:
        """Begin to call a method, whose result `finish` gives."""
        with contextlib.suppress(OSError):  # it died; `finish` says how
            self._connection.send((method, args))

    def finish(self, timeout: float) -> Any:
        """The result of the call that was begun; raises `Failed` as `call` does."""
        try:
            if not self._connection.poll(timeout):
                self.close()
                raise Failed(f"takes longer than {timeout:g} s")
            good, result = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise Failed(f"the process {_how(self._process.exitcode)}") from error
        if not good:
            raise Failed(*result)
        return result

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


def _how(code: int | None) -> str:
    """What became of a process."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _serve(
    make: Callable[[], object], connection: Connection, log: Path, environment: dict[str, str]
) -> None:
    """The life of a child."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator ends its children itself
    served: object | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, args = connection.recv()
            try:
                served = served or make()
                answer = True, getattr(served, method)(*args)
            except Exception as error:  # noqa: BLE001 (whatever a peer raises is its result)
                answer = False, (message_of(error), traceback.format_exc())
            connection.send(answer)

"""Writing files so that a reader sees the old content or the new, and never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from dyncc.core.errors import ConfigError


def write_text(path: str | Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)

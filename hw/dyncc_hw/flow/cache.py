"""Results of builds, kept by a hash of all that went in."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from dyncc.core.errors import ConfigError

#: Where results are kept.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dyncc" / "hw"

_HASHES = "sha256.json"


def key_of(*parts: str) -> str:
    """Name of the entry that is made of these texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def look_up(key: str) -> Path | None:
    """The folder of an entry, or None; one that is damaged is removed."""
    folder = CACHE / key
    if not folder.is_dir():
        return None
    try:
        hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
        if hashes and all(_hash(folder / name) == value for name, value in hashes.items()):
            return folder
    except (OSError, ValueError, AttributeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def log_of(key: str) -> Path:
    """Where a process writes the log of a build, beside the entries.

    Raises
    ------
    ConfigError
        If the cache cannot be written.
    """
    log = CACHE / f"{key}.{os.getpid()}.log"
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError as error:
        raise _unwritable(error) from error
    return log


def keep(key: str, files: dict[str, Path]) -> Path:
    """Copy files into a new entry, and return its folder.

    The entry is complete when it appears. If another process made it in the meantime, that one
    stays.

    Raises
    ------
    ConfigError
        If the cache cannot be written.
    """
    unfinished = CACHE / f".{key}.{os.getpid()}"
    try:
        unfinished.mkdir(parents=True)
        for name, path in files.items():
            shutil.copyfile(path, unfinished / name)
        hashes = {name: _hash(unfinished / name) for name in files}
        (unfinished / _HASHES).write_text(json.dumps(hashes), encoding="utf-8")
        if look_up(key) is None:
            unfinished.rename(CACHE / key)
    except OSError as error:
        raise _unwritable(error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return CACHE / key


def _unwritable(error: OSError) -> ConfigError:
    return ConfigError(
        f"the cache {CACHE} cannot be written: {error.strerror}",
        hint="Set XDG_CACHE_HOME to a folder that can.",
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

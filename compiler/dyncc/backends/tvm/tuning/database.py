"""What searches found, as a JSON file: choices by machine and kernel.

::

    {"format": "dyncc tuning", "version": 1, "records": [
      {"target": "x86_64 znver4, 2 threads, avx avx2 ..., tvm 0.27.0.post1",
       "key": "kernel 1b2c...", "kernel": "fused_convolution_add_relu float32[1,64,32,32] ...",
       "choices": {"rows": 4}, "trace": null,
       "seconds": 1.1e-4, "untuned": 1.9e-4, "machine": "AMD EPYC, 2 CPUs"}]}
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dyncc.core.errors import ConfigError
from dyncc.core.files import write_text
from dyncc.core.tuning import VARIABLE

FORMAT, VERSION = "dyncc tuning", 1

#: The database that comes with dyncc.
SHIPPED = Path(__file__).with_name("shipped.json")


@dataclass(frozen=True)
class Record:
    """What was found for one kernel, or for the layout of an operator's weights, on one target.

    Attributes
    ----------
    target
        What the code was measured on, see `dyncc.backends.tvm.tuning.reuse.target_key`.
    key
        ``kernel`` and a hash of its structure, or an operator as `ConvShape.operator` names it.
    kernel
        The kernel in words.
    choices
        Numbers to choose by name, see `dyncc.backends.tvm.knobs`.
    trace
        A schedule of MetaSchedule's as JSON, which then stands for all choices.
    seconds, untuned
        Least time of a call with these choices, and with dyncc's own, measured in turns.
    machine
        Where.
    """

    target: str
    key: str
    kernel: str
    choices: Mapping[str, int]
    trace: Sequence[Any] | None
    seconds: float
    untuned: float
    machine: str


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("target", "key", "kernel", "machine"), (str,)),
    **dict.fromkeys(("seconds", "untuned"), (int, float)),
    "choices": (dict,),
    "trace": (list, type(None)),
}


class Database:
    """Records by target and key.

    Parameters
    ----------
    path
        The file, which need not be there. It is read now and written by `save`.

    Raises
    ------
    ConfigError
        If the file is none of ours, or of another version. It is not changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = _read(path)
        self._added: dict[tuple[str, str], Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def find(self, target: str, key: str) -> Record | None:
        """The record of a kernel or an operator on a target."""
        return self._records.get((target, key))

    def of_target(self, target: str) -> Iterator[Record]:
        """All records of a target."""
        return (record for (of, _), record in self._records.items() if of == target)

    def add(self, record: Record) -> None:
        """Add a record, in place of an older one of its target and key."""
        self._records[record.target, record.key] = record
        self._added[record.target, record.key] = record

    def save(self) -> None:
        """Add what was added to the file, which others may have written meanwhile.

        Raises
        ------
        ConfigError
            If the file cannot be written, or is no database any more.
        """
        if not self._added:
            return
        with _locked(self.path):
            self._records = _read(self.path) | self._added
            ordered = [asdict(self._records[key]) for key in sorted(self._records)]
            lines = ",\n".join(json.dumps(record) for record in ordered)
            head = json.dumps({"format": FORMAT, "version": VERSION})[:-1]
            write_text(self.path, f'{head}, "records": [\n{lines}\n]}}\n')
            self._added = {}


def _read(path: Path) -> dict[tuple[str, str], Record]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, f"cannot be read: {error}") from error
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _unusable(path, f"is damaged: it is no JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _unusable(path, "is not one that dyncc wrote")
    if found.get("version") != VERSION:
        raise _unusable(
            path, f"has version {found.get('version')!r}, and this dyncc knows version {VERSION}"
        )
    items = found.get("records")
    if not isinstance(items, list):
        raise _unusable(path, "is damaged: it has no list of records")
    records = [_record(path, place, item) for place, item in enumerate(items)]
    return {(record.target, record.key): record for record in records}


def _record(path: Path, place: int, item: Any) -> Record:
    names = {field.name for field in fields(Record)}
    if not isinstance(item, dict) or set(item) != names:
        raise _unusable(path, f"is damaged: record {place} does not have the fields of a record")
    wrong = [name for name, kinds in _KINDS.items() if not isinstance(item[name], kinds)]
    if wrong or not all(type(value) is int for value in item["choices"].values()):
        raise _unusable(
            path, f"is damaged: record {place} has a wrong value of {(wrong or ['choices'])[0]}"
        )
    return Record(**item)


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the tuning database {path} {why}",
        hint=f"It was not changed. Move it away, or name another with --database or {VARIABLE}.",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing a database."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigError(
            f"the tuning database {path} cannot be written: {error.strerror}"
        ) from error

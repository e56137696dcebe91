"""Results in a directory: one small file for each point, so that a study goes on where it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dyncc.core.errors import ConfigError
from dyncc.core.files import write_text
from dyncc_sim.skipopu.study.measure import Result, versions
from dyncc_sim.skipopu.study.points import Point


class Store:
    """Results that were measured.

    Parameters
    ----------
    folder
        Made if it is missing.
    warn
        Told about files that cannot be used.

    Raises
    ------
    ConfigError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder, self._warn = folder, warn
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
        self._versions: dict[Point, dict[str, str]] = {}

    def path(self, point: Point) -> Path:
        """The file of a point: named after its parameters, and the versions of code and data."""
        text = json.dumps([point.facts(), self._version(point)], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def get(self, point: Point) -> Result | None:
        """The result of a point, or None if it is to be measured."""
        path = self.path(point)
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or content.get("point") != point.facts():
                raise ValueError("it is of another point")
            return Result.of(content.get("result"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._warn(f"{path} cannot be used, and is measured again: {error}")
            return None

    def put(self, point: Point, result: Result) -> None:
        """Keep a result; raises ConfigError if it cannot be written."""
        content = {
            "point": point.facts(), "versions": self._version(point), "result": result.facts(),
        }  # fmt: skip
        write_text(self.path(point), json.dumps(content, indent=1) + "\n")

    def _version(self, point: Point) -> dict[str, str]:
        setting = point.setting
        if setting not in self._versions:
            self._versions[setting] = versions(setting)
        return self._versions[setting]

"""``--format source``: the folder that a C++ compiler makes the library of, on any machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dyncc.core.errors import ConfigError
from dyncc.export import tree
from dyncc.export.request import Progress, Request


def export(request: Request, output: Path, progress: Progress) -> None:
    """Write the folder; an older one is replaced only by a complete one.

    Raises
    ------
    ConfigError
        If `output` holds something that is no such folder.
    """
    ours = (output / tree.PROGRAM).is_file() or (output.is_dir() and not any(output.iterdir()))
    if output.exists() and not ours:
        raise ConfigError(
            f"{output} exists and is no exported source, so it is not replaced",
            hint="Give another directory with -o, or remove this one.",
        )
    request.check()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
        unfinished = Path(name) / "new"
        unfinished.mkdir()
        request.write_tree(unfinished, progress)
        if output.exists():
            output.rename(Path(name) / "old")
        shutil.move(unfinished, output)

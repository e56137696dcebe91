"""Figures that are drawn without a display, and files of them that are the same each time.

Needs ``pip install 'dyncc[plots]'``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.core.errors import ConfigError, MissingToolError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Endings of files that `save` writes.
FORMATS = (".png", ".svg", ".pdf")


def blank(width: float, height: float) -> Figure:
    """An empty figure of a size in inches.

    Raises
    ------
    MissingToolError
        If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingToolError(
            "matplotlib is missing, which draws plots",
            hint="Install it: pip install 'dyncc[plots]'",
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the ending of the name; the same bytes each time.

    Raises
    ------
    ConfigError
        If the ending is another one, or the file cannot be written.
    """
    import matplotlib

    target = Path(path)
    kind = target.suffix.lower()
    if kind not in FORMATS:
        raise ConfigError(f"{target} must end with {', '.join(FORMATS)}")
    # The date and the writer's version would differ from run to run.
    metadata: dict[str, Any] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }[kind]
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{kind}")
    try:
        with matplotlib.rc_context({"svg.hashsalt": "dyncc"}):
            figure.savefig(unfinished, metadata=metadata, dpi=150)
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)

"""Progress of long work on standard error: a bar on a terminal, else a line for each step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dyncc.driver import Progress


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress callback for `dyncc.compile`."""
    if not sys.stderr.isatty():
        last = ""

        def line(what: str, step: int, steps: int) -> None:
            nonlocal last
            stage = what.split()[0]
            if stage != last:
                print(f"dyncc: {what} ({steps} steps)" if steps > 1 else f"dyncc: {what}",
                      file=sys.stderr, flush=True)  # fmt: skip
            last = stage

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=1)
        yield lambda what, step, steps: bar.update(
            task, description=what, completed=step, total=steps
        )

"""What an example hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """What an example found.

    Attributes
    ----------
    figures
        Numbers and words by name.
    text
        The same for a reader, in Markdown.
    plot
        Draws it, and needs matplotlib; or None.
    """

    figures: dict[str, float | str]
    text: str
    plot: Callable[[], Figure] | None = None


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows))

"""Pages of results, with pictures in a folder beside them."""

from __future__ import annotations

from collections.abc import Callable, Sized
from pathlib import Path

from dyncc.core.files import write_text


def write_page(target: Path, draw: Callable[[Path], Sized], text: Callable[[str], str]) -> None:
    """Draw pictures into the folder ``figures`` beside a page, write the page, and say so.

    Parameters
    ----------
    target
        The page.
    draw
        Writes pictures into a folder, and returns them.
    text
        The page, from the name of that folder.
    """
    folder = target.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(folder)
    write_text(target, text(folder.name))
    print(f"{target}, and {len(drawn)} pictures in {folder}")

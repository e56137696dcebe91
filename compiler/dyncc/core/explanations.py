"""The kinds of diagnostics: each has a code, which ``explanations.md`` in this folder explains.

The text of a diagnostic stands where it is made, beside the check, since it speaks of what was
found there. Its code, a literal, is what never changes. A test holds that each code that is made is
explained, that each that is explained is made, and that the examples are refused with it.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("explanations.md")
_FENCE = re.compile(r"```python\n(.*?)```\n?", re.DOTALL)


@dataclass(frozen=True)
class Explanation:
    """What is behind a kind of diagnostic.

    Attributes
    ----------
    code
        Such as DY201. The hundreds are the group.
    group, title
        Headings.
    text
        Paragraphs in Markdown.
    example
        A ``forward``, or its body, that is refused so; empty for a back end's.
    remedy
        The same as it compiles, or empty.
    """

    code: str
    group: str
    title: str
    text: str
    example: str
    remedy: str

    def __str__(self) -> str:
        wrapped = [textwrap.fill(part, 80) for part in self.text.split("\n\n")]
        parts = [f"{self.code}: {self.title}", *wrapped]
        if self.example:
            parts.append(f"This is refused:\n\n{textwrap.indent(self.example, '    ')}")
        if self.remedy:
            parts.append(f"This compiles:\n\n{textwrap.indent(self.remedy, '    ')}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, str]:
        """As ``dyncc explain --json`` prints it."""
        return {
            "code": self.code,
            "group": self.group,
            "title": self.title,
            "text": self.text,
            "example": self.example,
            "remedy": self.remedy,
        }


@cache
def explanations() -> dict[str, Explanation]:
    """Every kind of diagnostic by its code, in order."""
    found: dict[str, Explanation] = {}
    group = ""
    for part in re.split(r"^(?=##? )", _FILE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if not heading.startswith("## "):
            group = heading.removeprefix("# ")
            continue
        code, _, title = heading.removeprefix("## ").partition(" ")
        if code in found:
            raise ValueError(f"{_FILE.name} explains {code} twice")
        fences = [*_FENCE.findall(body), "", ""]
        text = _FENCE.sub("", body).strip()
        found[code] = Explanation(code, group, title, text, fences[0].rstrip(), fences[1].rstrip())
    return found

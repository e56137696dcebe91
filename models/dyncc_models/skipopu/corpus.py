"""English text that every Python has: the topics of ``help()``, from the language reference.

The text is that of ``pydoc_data.topics`` (Python Software Foundation License). It differs between
versions of Python, so `digest` belongs to every figure that is measured on it. Topics quote each
other; here a paragraph is in one topic only, the longest one that has it, so that no paragraph is
in two splits.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pydoc_data import topics

from dyncc.core.errors import ConfigError

SPLITS = ("train", "validation", "test")
#: Chosen, before any training, for the sizes of the splits: about 77, 8 and 15 % of the text.
_SPLIT_SEED = 14
#: Of 256 values of a hash, those below the first are test, those below the second validation.
_TEST, _VALIDATION = 42, 72
#: What is left of a topic whose paragraphs are elsewhere too, in characters.
_SHORTEST = 400


def topics_of(split: str) -> tuple[str, ...]:
    """Names of the topics of a split, in alphabetical order.

    Raises
    ------
    ConfigError
        If there is no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    return tuple(sorted(name for name in _topics() if _split(name) == split))


def documents(split: str) -> list[str]:
    """The topics' texts, in the order of `topics_of`; raises ConfigError for an unknown split."""
    return [_topics()[name] for name in topics_of(split)]


def text(split: str) -> str:
    """`documents`, one after the other, with an empty line between."""
    return "\n\n".join(documents(split))


def digest(split: str) -> str:
    """SHA-256 of `text` in UTF-8, in hexadecimal."""
    return hashlib.sha256(text(split).encode()).hexdigest()


def _split(name: str) -> str:
    value = hashlib.sha256(f"{_SPLIT_SEED} {name}".encode()).digest()[0]
    return "test" if value < _TEST else "validation" if value < _VALIDATION else "train"


@lru_cache(maxsize=1)
def _topics() -> dict[str, str]:
    """Texts by topic, without paragraphs that a longer topic has."""
    known: set[str] = set()
    found = {}
    for name, content in sorted(topics.topics.items(), key=lambda item: (-len(item[1]), item[0])):
        kept = []
        for paragraph in content.split("\n\n"):
            words = " ".join(paragraph.split())
            if words and words not in known:
                known.add(words)
                kept.append(paragraph.strip("\n"))
        joined = "\n\n".join(kept)
        if len(joined) >= _SHORTEST:
            found[name] = joined
    return found

"""Draws the choices of random programs from a seed alone."""

from __future__ import annotations

import random
from typing import Any

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, PrimitiveProvider


def drawing_from(seed: int) -> str:
    """The name of a back end of hypothesis whose choices depend on a seed alone.

    Hypothesis itself mixes in constants of all modules that happen to be loaded, so that with the
    same seed each change of the compiler, and each selection of tests, gives other programs; and it
    varies programs in places that change nothing. Failures are shrunk by hypothesis as ever.
    """

    class Drawing(PrimitiveProvider):
        def __init__(self, data: Any, /) -> None:
            super().__init__(data)
            self._random = random.Random(seed)

        def draw_integer(
            self,
            min_value: int | None = None,
            max_value: int | None = None,
            **kwargs: Any,
        ) -> int:
            assert min_value is not None
            assert max_value is not None
            return self._random.randint(min_value, max_value)

        def _unused(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError("programs are made of bounded integers")

        draw_boolean = draw_float = draw_string = draw_bytes = _unused

    name = f"dyncc-{seed}"
    AVAILABLE_PROVIDERS[name] = Drawing
    return name

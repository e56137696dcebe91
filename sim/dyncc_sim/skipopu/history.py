"""The history buffer: which keys and values are on chip."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from dyncc.arch.skipopu.isa import NO_SLOT


class History:
    """Tags of the history buffer; each of the first positions has a place there.

    Slots never change, so a place that has the tag of a slot holds the keys and values of it.

    Parameters
    ----------
    places
        Slots that fit.
    """

    def __init__(self, places: int) -> None:
        self._tags = numpy.full(places, NO_SLOT, numpy.int64)

    def keep(self, position: int, slot: int) -> None:
        """Put a slot into the buffer, if its position has a place."""
        if position < len(self._tags):
            self._tags[position] = slot

    def fetch(self, slots: Any) -> NDArray[numpy.bool_]:
        """Make the slots of a layer resident, as far as they fit.

        Parameters
        ----------
        slots
            Of positions 0, 1, ..., int64; `NO_SLOT` for none.

        Returns
        -------
        bool of shape (positions,)
            Those that have to come from memory.
        """
        fetched: NDArray[numpy.bool_] = slots != NO_SLOT
        tags = self._tags[: len(slots)]
        fetched[: len(tags)] &= tags != slots[: len(tags)]
        numpy.copyto(tags, slots[: len(tags)], where=fetched[: len(tags)])
        return fetched

"""Tags of the history: which slot each of its places holds."""

from typing import Any

from amaranth import Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dyncc_hw.blockmemory import clocked_read
from dyncc_hw.skipopu.kv.store import KvShape

#: Bits of an entry of the table.
SLOT_BITS = 32


def look_signature(shape: KvShape) -> wiring.Signature:
    """Whether a `place` holds a `slot`: a `hit`, if `place` was the same in the cycle before."""
    return wiring.Signature(
        {"place": Out(range(max(2, shape.places))), "slot": Out(SLOT_BITS), "hit": In(1)}
    )


class Tags(wiring.Component):
    """A slot for each place, and whether it is valid. A reset changes nothing.

    Parameters
    ----------
    shape
        Sizes.

    Members
    -------
    look
        See `look_signature`.
    clear, clear_place
        The place is not valid from the next cycle on.
    set, set_place, set_slot
        The place holds the slot from the next cycle on, unless it is cleared in this one.
    forget
        Clear all.
    """

    def __init__(self, shape: KvShape) -> None:
        self.shape = shape
        place = range(max(2, shape.places))
        super().__init__(
            {
                "look": In(look_signature(shape)),
                "clear": In(1), "clear_place": In(place),
                "set": In(1), "set_place": In(place), "set_slot": In(SLOT_BITS),
                "forget": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """Slots in a memory, what is valid in registers."""
        m = Module()
        if not self.shape.places:
            return m
        # Tags are about memory and places, which a reset does not change either.
        valid = Signal(self.shape.places, reset_less=True)
        m.submodules.slots = slots = memory.Memory(
            shape=SLOT_BITS, depth=self.shape.places, init=[]
        )
        into, found = slots.write_port(), clocked_read(m, slots, self.look.place)
        was_valid = Signal(reset_less=True)
        is_valid = valid.bit_select(self.look.place, 1)
        m.d.sync += was_valid.eq(is_valid)
        m.d.comb += [
            into.addr.eq(self.set_place), into.data.eq(self.set_slot), into.en.eq(self.set),
            # It may have got a slot after it was read, or lost it.
            self.look.hit.eq(was_valid & is_valid & (found == self.look.slot)),
        ]  # fmt: skip
        with m.If(self.set):
            m.d.sync += valid.bit_select(self.set_place, 1).eq(1)
        with m.If(self._clears()):
            m.d.sync += valid.bit_select(self.clear_place, 1).eq(0)
        with m.If(self.forget):
            m.d.sync += valid.eq(0)
        return m

    def _clears(self) -> Value:
        """Whether a place becomes invalid."""
        return self.clear

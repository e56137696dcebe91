"""Chips of SDR SDRAM: their sizes, and what their data sheets say of times."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from amaranth.utils import exact_log2

from dyncc.core.errors import ConfigError

#: A word of a chip.
WORD_BYTES = 2
#: Columns are counted by the address pins below this one, which says something else.
ALL_BANKS = 10
#: Refreshes before the mode is set.
FIRST_REFRESHES = 8


@dataclass(frozen=True)
class Least:
    """A least distance of two commands, as a data sheet gives it.

    Parameters
    ----------
    ns
        A time, in ns.
    cycles
        And cycles, whatever they take.
    """

    ns: float = 0.0
    cycles: int = 1

    def at(self, clock_hz: int) -> int:
        """In cycles; all times are multiples of a ps."""
        return max(self.cycles, -(-round(self.ns * 1000) * clock_hz // 10**12))


@dataclass(frozen=True)
class SdramCycles:
    """The times of a chip in cycles of a clock; see `SdramChip` for their names."""

    rc: int
    ras: int
    rcd: int
    rp: int
    rfc: int
    rrd: int
    wr: int
    mrd: int
    pause: int
    #: Most cycles from a refresh to the next.
    refi: int
    cas: int

    @property
    def turn(self) -> int:
        """From a read to a write: its word comes, and for a cycle nobody drives the pins."""
        return self.cas + 2

    @property
    def refresh_delays(self) -> int:
        """By how much a refresh may come later after it is due than another one: a row was opened,
        or a word written, in the cycle before.
        """
        return max(self.ras, self.wr, self.rc - self.rp) - 1

    @property
    def refresh_period(self) -> int:
        """Cycles after which a refresh is due again, so that none is late."""
        return self.refi - self.refresh_delays


@dataclass(frozen=True)
class SdramChip:
    """A chip with words of 16 bits, and names of times as in data sheets.

    Parameters
    ----------
    name
        Of the chip.
    banks, rows, columns
        Numbers, powers of two. At most 4 banks, 8192 rows, 1024 columns.
    rc
        From the opening of a row to that of another one of its bank.
    ras
        From the opening of a row to its closing.
    rcd
        From the opening of a row to its first read or write.
    rp
        From the closing of a row to anything else in its bank.
    rfc
        From a refresh to anything else.
    rrd
        From the opening of a row to that of one of another bank.
    wr
        From a write to the closing of its row, also called tDPL.
    mrd
        From the setting of the mode to anything else.
    refi_ns
        Most ns from a refresh to the next.
    cas_ns
        By CAS latency, the shortest period of a clock for it, in ns.
    pause_ns
        From power to the first command.

    Raises
    ------
    ConfigError
        If there is no such chip.
    """

    name: str
    banks: int
    rows: int
    columns: int
    rc: Least
    ras: Least
    rcd: Least
    rp: Least
    rfc: Least
    rrd: Least
    wr: Least
    mrd: Least
    refi_ns: float
    cas_ns: Mapping[int, float]
    pause_ns: float = 200_000.0

    def __post_init__(self) -> None:
        for name, most in (("banks", 4), ("rows", 8192), ("columns", 1 << ALL_BANKS)):
            number = getattr(self, name)
            if not 2 <= number <= most or number & (number - 1):
                raise ConfigError(
                    f"{self.name} has {name} as a power of two from 2 to {most}, not {number}"
                )
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Least) and (value.ns < 0 or value.cycles < 1):
                raise ConfigError(f"{self.name}: {item.name} is a cycle at least, not {value}")
        if min(self.refi_ns, self.pause_ns) <= 0:
            raise ConfigError(f"{self.name}: refresh period and pause are longer than nothing")
        if not self.cas_ns or not all(2 <= cas <= 3 for cas in self.cas_ns):
            raise ConfigError(f"{self.name} has CAS latencies of 2 or 3, not {dict(self.cas_ns)}")

    @property
    def words(self) -> int:
        """Words of all banks."""
        return self.banks * self.rows * self.columns

    @property
    def bytes(self) -> int:
        """Bytes of all banks."""
        return self.words * WORD_BYTES

    @property
    def bits(self) -> tuple[int, int, int]:
        """Widths of the numbers of a column, a bank and a row."""
        column, bank, row = map(exact_log2, (self.columns, self.banks, self.rows))
        return int(column), int(bank), int(row)

    @property
    def address_pins(self) -> int:
        """Pins for rows and columns."""
        return max(self.bits[2], ALL_BANKS + 1)

    def cycles(self, clock_hz: int) -> SdramCycles:
        """All times at a clock, with the lowest CAS latency that it allows.

        Raises
        ------
        ConfigError
            If the clock is too fast for the chip, or too slow for its refresh.
        """
        if clock_hz < 1:
            raise ConfigError(f"the clock of {self.name} has a frequency, not {clock_hz} Hz")
        found = [cas for cas, ns in self.cas_ns.items() if ns * clock_hz <= 1e9]
        if not found:
            raise ConfigError(f"{clock_hz} Hz are too fast for {self.name}")
        times: dict[str, Any] = {
            item.name: getattr(self, item.name).at(clock_hz)
            for item in fields(self)
            if isinstance(getattr(self, item.name), Least)
        }
        times["pause"] = Least(self.pause_ns).at(clock_hz)
        times["refi"] = round(self.refi_ns * 1000) * clock_hz // 10**12
        cycles = SdramCycles(**times, cas=min(found))
        # What a refresh takes, and a row that is opened and read in between.
        busy = 2 * (cycles.rc + cycles.rp + cycles.rfc + cycles.turn)
        if cycles.refresh_period <= busy:
            raise ConfigError(
                f"at {clock_hz} Hz {self.name} is refreshed each {cycles.refi} cycles, which "
                f"leaves no time for anything else"
            )
        return cycles


def slowest(name: str, *chips: SdramChip) -> SdramChip:
    """A chip that is as slow in everything as the slowest of some, which have the same sizes.

    Raises
    ------
    ConfigError
        If their sizes differ.
    """
    first, *others = chips
    if any(chip.bits != first.bits for chip in others):
        raise ConfigError(f"{', '.join(chip.name for chip in chips)} have different sizes")
    values: dict[str, Any] = {}
    for item in fields(SdramChip):
        each = [getattr(chip, item.name) for chip in chips]
        if isinstance(each[0], Least):
            values[item.name] = Least(max(one.ns for one in each), max(one.cycles for one in each))
    return SdramChip(
        name, first.banks, first.rows, first.columns, **values,
        refi_ns=min(chip.refi_ns for chip in chips),
        cas_ns={
            cas: max(chip.cas_ns[cas] for chip in chips)
            for cas in set.intersection(*(set(chip.cas_ns) for chip in chips))
        },
        pause_ns=max(chip.pause_ns for chip in chips),
    )  # fmt: skip


#: 256 Mbit by Micron. Source: data sheet "256Mb: x4, x8, x16 SDRAM", table 12, speed -75.
MT48LC16M16A2_75 = SdramChip(
    "MT48LC16M16A2-75", 4, 8192, 512,
    rc=Least(66), ras=Least(44), rcd=Least(20), rp=Least(20), rfc=Least(66), rrd=Least(15),
    wr=Least(15), mrd=Least(cycles=2), refi_ns=7812.5, cas_ns={2: 10.0, 3: 7.5},
)  # fmt: skip
#: 256 Mbit by Winbond. Source: data sheet of the W9825G6JH, section 9.5, speed -75.
W9825G6_75 = SdramChip(
    "W9825G6-75", 4, 8192, 512,
    rc=Least(65), ras=Least(45), rcd=Least(20), rp=Least(20), rfc=Least(65), rrd=Least(cycles=2),
    wr=Least(cycles=2), mrd=Least(cycles=2), refi_ns=7812.5, cas_ns={2: 10.0, 3: 7.5},
)  # fmt: skip
#: 512 Mbit by Alliance. Source: data sheet of the AS4C32M16SB, table 16, speed -7.
AS4C32M16SB_7 = SdramChip(
    "AS4C32M16SB-7", 4, 8192, 1024,
    rc=Least(63), ras=Least(42), rcd=Least(21), rp=Least(21), rfc=Least(63), rrd=Least(14),
    wr=Least(14), mrd=Least(14, 2), refi_ns=7800.0, cas_ns={2: 10.0, 3: 7.0},
)  # fmt: skip
#: The 32 MB of a ULX3S, whoever made them: chips that are sold as -6 or -7 are faster.
ULX3S_32MB = slowest("ULX3S, 32 MB", MT48LC16M16A2_75, W9825G6_75)
#: The 64 MB of some ULX3S.
ULX3S_64MB = AS4C32M16SB_7

"""What a host and a SkipOPU board say to each other over the link of `dyncc.arch.link`.

A host sees two spaces: the words of the control and status registers (`dyncc.arch.skipopu.csr`),
behind which there is one word of the board's own, `OWN_WORD`; and memory, of which any bytes can be
read and written at any time, also while a program runs. The answer to a request that writes comes
when memory has all of it.

All requests but `PING` begin with `PLACE`. `LENGTH` also refuses a count that is not that of what
follows, or is more than fits an answer; `ADDRESS` what is not inside of its space from its first
to its last byte. A count of 0 is fine at any address up to the end.

`WRITE` is refused as `BUSY` while a program runs, since registers would ignore it. What follows a
start within a `WRITE` is ignored. A host that wrote keys and values, or anything else that was on
chip, starts the next program with ``forget``.

Memory that answers with an error, or not at all, is told in `OWN`, which a host compares before
and after: what a request read or wrote meanwhile is not to be trusted. After memory gave no answer
for `PATIENCE` cycles none of it is asked any more; all that is read from it then is 0.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from dyncc.arch.fields import Code, Field, width
from dyncc.arch.link import MAX_REQUEST, MAX_RESPONSE, LinkSpec
from dyncc.arch.skipopu import csr
from dyncc.arch.skipopu.formats import KvType
from dyncc.arch.skipopu.isa import COUNT_BITS, REGISTER_BITS
from dyncc.arch.skipopu.spec import ArchSpec

#: "SOP1" as bytes on the line.
MAGIC = 0x31504F53
VERSION = 1


class Opcode(Code):
    """Requests: their payload → that of the answer. Numbers are little-endian."""

    PING = 0, "nonce u32 → nonce u32, `INFO`; outside of the order of requests"
    READ = 1, "`PLACE` of words → words u32 of registers"
    WRITE = 2, "`PLACE` of words, words u32 → nothing; not while a program runs"
    GET = 3, "`PLACE` of bytes → bytes of memory"
    PUT = 4, "`PLACE` of bytes, bytes for memory → nothing"
    CHECK = 5, "`PLACE` of bytes → CRC-32 u32 of so many bytes of memory, that of zlib"


#: Requests that may be answered again later, see `dyncc.arch.link`.
QUERIES = frozenset({Opcode.PING, Opcode.READ, Opcode.GET, Opcode.CHECK})

ADDRESS_BITS, LENGTH_BITS = REGISTER_BITS, COUNT_BITS
PLACE = (
    Field("address", ADDRESS_BITS, False, "number of the first word, or address of the first byte"),
    Field("count", LENGTH_BITS, False, "words or bytes"),
)
PLACE_BYTES = width(PLACE) // 8
NONCE = (Field("nonce", 32, False, "any number, which comes back"),)
WORD_BYTES = csr.WORD_BITS // 8

#: Most words and bytes of a request or an answer.
MAX_WORDS = min(MAX_RESPONSE, MAX_REQUEST - PLACE_BYTES) // WORD_BYTES
MAX_BYTES = MAX_WORDS * WORD_BYTES

#: Number of the word of the board's own, behind those of the registers.
OWN_WORD = 2 * csr.REGISTERS
OWN = (
    Field("errors", 16, False, "errors with which memory answered the host since reset, mod 2^16"),
    Field("silent", 1, False, "memory gave no answer in time; until reset"),
    Field("reserved", 15, False, "0"),
)
#: Cycles that memory may take to answer the host.
PATIENCE = 1 << 20

#: Parameters of an instance that say how fast it is, not what it computes.
_SPEED = (
    "clk_hz", "memory_bytes_s", "memory_latency_cycles", "burst_bytes", "memory_requests",
    "refresh_period_cycles", "refresh_cycles", "merge_lanes", "overlapped_heads",
)  # fmt: skip
#: Parameters that must be those of a program's instance.
PARAMETERS = tuple(item.name for item in fields(ArchSpec) if item.name not in (*_SPEED, "name"))

#: What a board says of itself.
INFO = (
    Field("magic", 32, False, "0x31504F53, SOP1"),
    Field("version", 32, False, "of this protocol"),
    Field("clk_hz", 32, False, "clock"),
    Field("receive_bytes", 32, False, "bytes of request bodies that it holds"),
    Field("memory_bytes", 64, False, "bytes of memory"),
    *(Field(name, 32, False, "see ArchSpec") for name in PARAMETERS),
)


def parameters(arch: ArchSpec) -> dict[str, int]:
    """`PARAMETERS` of an instance, as numbers."""
    values = {name: getattr(arch, name) for name in PARAMETERS}
    return values | {"kv": int(arch.kv)}


def board_info(arch: ArchSpec, link: LinkSpec, memory_bytes: int) -> dict[str, int]:
    """The values of `INFO`."""
    return {
        "magic": MAGIC, "version": VERSION, "clk_hz": link.clk_hz,
        "receive_bytes": link.receive_bytes, "memory_bytes": memory_bytes, **parameters(arch),
    }  # fmt: skip


def differences(arch: ArchSpec, info: dict[str, int]) -> dict[str, tuple[Any, Any]]:
    """Parameters that an instance and a board that said `info` do not share: theirs, by name."""
    mine = parameters(arch)
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in mine.items():
        if value != info[name]:
            named = (KvType(value).name, _kv_name(info[name])) if name == "kv" else None
            found[name] = named or (value, info[name])
    return found


def _kv_name(number: int) -> str | int:
    return KvType(number).name if number in [int(item) for item in KvType] else number


def place(address: int, count: int) -> bytes:
    """`PLACE` as bytes."""
    return (address | count << ADDRESS_BITS).to_bytes(PLACE_BYTES, "little")

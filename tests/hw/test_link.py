"""The blocks of the link in RTL, against the codec that the host uses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cobs import cobs

from dyncc.arch.link import REQUEST, FrameError, LinkSpec, frame, parse
from dyncc.core.errors import ConfigError
from dyncc_hw.link.uart import checked_divisor
from dyncc_sim.link_blocks import LinkBlocks
from dyncc_sim.runner import run_bench

BENCH = "dyncc_sim.link_bench"


def compare(link: dict[str, Any], seed: int = 3, frames: int = 150) -> None:
    options = {"link": link, "seed": seed, "frames": frames}
    run_bench(LinkBlocks(LinkSpec(**link)), BENCH, options)


def test_blocks_equal_the_codec() -> None:
    """The shortest bits that a receiver can take."""
    compare({"clk_hz": 4_000_000, "baud": 1_000_000, "receive_bytes": 512})


def test_zeros_behind_a_body_do_not_pass() -> None:
    """They would with a CRC that is zero over a whole body."""
    draw = random.Random(1)
    for size in range(3, 200):
        payload = draw.randbytes(size)
        stuffed = frame(REQUEST, {"opcode": 7, "sequence": size}, payload)[:-1]
        assert parse(REQUEST, stuffed)[1] == payload
        with pytest.raises(FrameError, match="wrong CRC"):
            parse(REQUEST, stuffed + bytes([1]))
        body = cobs.decode(stuffed)
        if body[-1] == 0:
            with pytest.raises(FrameError, match="wrong CRC"):
                parse(REQUEST, cobs.encode(body[:-1]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("divisor", [5, 6, 7, 104])
def test_blocks_equal_the_codec_at_other_rates(divisor: int, seed: int) -> None:
    link = {"clk_hz": divisor * 115_200, "baud": 115_200, "receive_bytes": 1024}
    compare(link, seed, frames=600)


def test_a_bit_needs_four_cycles() -> None:
    assert checked_divisor(4) == 4
    with pytest.raises(ConfigError, match="at least 4 cycles a bit, not 3"):
        checked_divisor(3)

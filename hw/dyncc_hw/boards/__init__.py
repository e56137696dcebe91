"""Boards that `dyncc hw` builds for."""

from dyncc.core.errors import ConfigError
from dyncc_hw.boards.artix7 import CMOD_A7_35T
from dyncc_hw.boards.board import Board
from dyncc_hw.boards.ecp5 import ORANGECRAB_25F, ORANGECRAB_85F, ULX3S_85F
from dyncc_hw.boards.ice40 import ICEBREAKER
from dyncc_hw.boards.systems import ALVEO_U280, KV260, SystemBoard

_ALL: tuple[Board | SystemBoard, ...] = (
    ICEBREAKER, ULX3S_85F, ORANGECRAB_85F, ORANGECRAB_25F, CMOD_A7_35T, KV260, ALVEO_U280,
)  # fmt: skip
BOARDS = {item.name: item for item in _ALL}


def board(name: str) -> Board | SystemBoard:
    """The board of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in BOARDS:
        raise ConfigError(f"there is no board {name!r}", hint=f"Boards: {', '.join(BOARDS)}.")
    return BOARDS[name]

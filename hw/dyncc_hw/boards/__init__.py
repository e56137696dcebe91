"""Boards that `dyncc hw` builds for."""

from dyncc.core.errors import ConfigError
from dyncc_hw.boards.artix7 import CMOD_A7_35T
from dyncc_hw.boards.board import Board
from dyncc_hw.boards.ecp5 import ORANGECRAB_25F, ORANGECRAB_85F, ULX3S_85F
from dyncc_hw.boards.ice40 import ICEBREAKER

BOARDS = {
    item.name: item for item in (ICEBREAKER, ULX3S_85F, ORANGECRAB_85F, ORANGECRAB_25F, CMOD_A7_35T)
}


def board(name: str) -> Board:
    """The board of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in BOARDS:
        raise ConfigError(f"there is no board {name!r}", hint=f"Boards: {', '.join(BOARDS)}.")
    return BOARDS[name]

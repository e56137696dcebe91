"""Where the multipliers of a PE array are on an ECP5.

Its multipliers stand in three rows through the whole chip, and a placer that goes by the length of
wires puts those of one sum far apart: on the ULX3S, what they give would cross the chip on more
wires than there are. So each row of PEs gets neighbours, and what is around them follows.
"""

from collections.abc import Iterator, Sequence

from dyncc_hw.skipopu.array.products import product_name

#: Columns of an LFE5U-85F's first multiplier of each group of four, and of the others from there.
_GROUPS = (*range(4, 59, 9), *range(69, 115, 9))
_PLACES = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
#: For each row of `ulx3s_4x4`, the row of the chip and the number of its first multiplier there.
ULX3S_ROWS = ((34, 0), (34, 11), (34, 22), (58, 0))
#: A row's multipliers are neighbours, and leave two free in eight for those of its scales.
_COLUMNS = (0, 1, 2, 3, 6, 7, 8, 9)


def multiplier(line: int, number: int) -> str:
    """The name that nextpnr has for a multiplier of an LFE5U-85F.

    Parameters
    ----------
    line
        Row of the chip: 10, 34 or 58.
    number
        From the left, 0 to 51.
    """
    group, place = divmod(number, len(_PLACES))
    offset, name = _PLACES[place]
    return f"X{_GROUPS[group] + offset}/Y{line}/{name}"


def floorplan(rows: Sequence[tuple[int, int]], columns: int) -> Iterator[str]:
    """Commands of yosys, after synthesis, that give the multipliers of products their places."""
    for row, (line, first) in enumerate(rows):
        for column, number in enumerate(_COLUMNS[:columns]):
            cell = f"*.{product_name(row, column)}_*MULT18X18D*"
            yield f'setattr -set BEL "{multiplier(line, first + number)}" c:{cell}'

"""What is built: a design of some sizes on a board, as files and commands."""

from dataclasses import dataclass

from dyncc.arch.link import LinkSpec
from dyncc_hw.boards import board
from dyncc_hw.boards.board import STATISTICS, Board, Plan, Pll, setup_of
from dyncc_hw.boards.systems import SystemBoard
from dyncc_hw.designs import all_choices, all_sizes, build


@dataclass(frozen=True)
class Project:
    """A design on a board.

    Attributes
    ----------
    design, board
        Name of the design, and the board.
    sizes
        All sizes of the design.
    clock_hz, pll
        Its clock, and what makes it.
    baud
        Rate of the serial line.
    choices
        How it is built.
    """

    design: str
    board: Board | SystemBoard
    sizes: dict[str, int]
    clock_hz: int
    pll: Pll | None
    baud: int
    choices: dict[str, str]

    @staticmethod
    def of(
        name: str,
        board_name: str,
        sizes: dict[str, int] | None = None,
        clock_mhz: float | None = None,
        baud: int | None = None,
        choices: dict[str, str] | None = None,
    ) -> "Project":
        """A project from what a user gave; the rest is as the board has it by default.

        Raises
        ------
        ConfigError
            If there is no such design, board, size, choice or clock, or it cannot fit.
        """
        target = board(board_name)
        setup = setup_of(board_name, target.setups, name)
        clock_hz, pll = target.clock(setup.clock_mhz if clock_mhz is None else clock_mhz)
        chosen_sizes = all_sizes(name, setup.sizes, sizes or {})
        chosen_ways = all_choices(name, setup.choices, choices or {})
        setup.check(chosen_sizes, chosen_ways)
        chosen_baud = setup.baud if baud is None else baud
        return Project(name, target, chosen_sizes, clock_hz, pll, chosen_baud, chosen_ways)

    def plan(self) -> Plan:
        """Files and commands for the tools of the board.

        Raises
        ------
        ConfigError
            If a size or the rate of the line is out of range.
        MissingToolError
            If amaranth-boards is missing.
        """
        link = LinkSpec(clk_hz=self.clock_hz, baud=self.baud)
        device = build(self.design, self.sizes, self.choices, link)
        setup = setup_of(self.board.name, self.board.setups, self.design)
        return self.board.plan(device, self.clock_hz, self.pll, setup)

    def measured(self) -> Plan:
        """The plan that figures are taken from: that of yosys alone, if the flow is Vivado's."""
        plan = self.plan()
        if self.board.estimate is None:
            return plan
        script = f"read_rtlil top.il\n{self.board.estimate}\n{STATISTICS}\n"
        files = {"top.il": plan.files["top.il"], "top.ys": script}
        return Plan(files, (("yosys", "-l", "top.rpt", "top.ys"),), ("stat.json",))

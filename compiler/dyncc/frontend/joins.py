"""Where paths of one function meet again."""

from __future__ import annotations

from functools import cache

import networkx

from dyncc.frontend.code import Code, Handler


@cache
def post_dominators(code: Code) -> dict[int, int]:
    """Immediate post-dominator of each program point; -1 stands for leaving the function."""
    graph = networkx.DiGraph()
    for index, instr in enumerate(code.instrs):
        # Paths that raise meet nobody, so an assertion does not put off where the others meet.
        if instr.op == "return":
            graph.add_edge(-1, index)
        for after in code.successors(index):
            graph.add_edge(after, index)
    return dict(networkx.immediate_dominators(graph, -1))


def meeting_point(code: Code, pc: int, handler: Handler) -> int:
    """Where the path that goes on after an instruction meets the one on which it raised."""
    ways = post_dominators(code)

    def onward(point: int) -> list[int]:
        found = []
        while point in ways and ways[point] != point:
            point = ways[point]
            found.append(point)
        return found

    later = onward(handler.target)
    return next((point for point in onward(pc) if point in later), -1)

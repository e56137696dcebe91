"""Options of the whole test suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Examples must not depend on the machine's speed or on earlier runs.
settings.register_profile("dyncc", deadline=None, derandomize=True, database=None)
settings.load_profile("dyncc")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write expected texts anew, then review them"
    )
    parser.addoption(
        "--fuzz-seed",
        type=int,
        default=0,
        help="the first of the seeds for the slow run of random programs; 0 if not given",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what became of random programs."""
    for report in (item for found in terminalreporter.stats.values() for item in found):
        for name, value in getattr(report, "user_properties", ()):
            if name == "fuzz" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}, {value}")

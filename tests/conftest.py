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

"""``python -m dyncc``."""

from __future__ import annotations

import sys

from dyncc.cli import main

sys.exit(main())

"""The front end: from Python source and example arguments to an HCFG."""

from dyncc.frontend.capture import Capture, capture

__all__ = ["Capture", "capture"]

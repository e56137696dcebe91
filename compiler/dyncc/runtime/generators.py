"""Generators of random numbers, whose states programs take and give as arrays.

Only programs that draw random numbers come here. PyTorch draws them, so that torch is there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy


def default_state() -> Any:
    """The state of torch's default generator, a torch tensor: uint8."""
    return import_module("torch").get_rng_state()


def set_default_state(state: numpy.ndarray) -> None:
    """Give torch's default generator a state: uint8."""
    torch = import_module("torch")
    torch.set_rng_state(torch.tensor(state))


def is_generator(value: Any) -> bool:
    """Whether a value is a ``torch.Generator``, recognised by what it can do."""
    return hasattr(value, "get_state") and hasattr(value, "manual_seed")


def set_state(generator: Any, state: numpy.ndarray) -> None:
    """Give a ``torch.Generator`` a state: uint8."""
    generator.set_state(import_module("torch").tensor(state))

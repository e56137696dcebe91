"""A point of the study: one setting, on one window of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from dyncc.arch.skipopu.formats import KvType, WeightType
from dyncc.arch.skipopu.spec import ARCHS, ArchSpec
from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.corpus import SPLITS
from dyncc_models.skipopu.perplexity import WINDOW

#: The instance that points run on. What it computes depends on its formats alone: with 8 bits of
#: mantissas and keys in BFP8 it gives the numbers of ``ecp5_85f``.
INSTANCE = "u280"
#: Routers that never skip, and the prefix of a list of sublayers that every token skips.
NONE, ALWAYS = "none", "skip:"


@dataclass(frozen=True)
class Scheme:
    """How matrices are stored.

    Attributes
    ----------
    title
        For readers.
    kind, levels
        Format of the overlay, and numbers that a weight takes in it.
    bits
        Bits of a weight with its part of scale and minimum, in groups of 32, if nothing is wasted.
    """

    title: str
    kind: WeightType
    levels: int
    bits: float


#: By the names of `Point.weights`. ``Q4_1`` is what the model file has; the others are rounded from
#: it. Weights of 3 and 2 bits are computed with as 4-bit ones that take 8 and 4 values.
WEIGHTS = {
    "Q8_0": Scheme("8 bits, symmetric", WeightType.Q8_0, 255, 8.5),
    "Q4_1": Scheme("4 bits with a minimum, as shipped", WeightType.Q4_1, 16, 5),
    "Q4_0G": Scheme("4 bits, symmetric (INT4)", WeightType.Q4_0G, 15, 4.5),
    "Q3_1": Scheme("3 bits with a minimum", WeightType.Q4_1, 8, 4),
    "Q2_1": Scheme("2 bits with a minimum", WeightType.Q4_1, 4, 3),
}


@dataclass(frozen=True)
class Point:
    """A setting and a window.

    Parameters
    ----------
    subject
        The model and its text: ``smollm2``, or ``toy``, which is small and made of random numbers.
    engine
        ``simulator``, bit by bit, or ``pytorch``, in float32 with the weights that stand for the
        integers; mantissas and the format of keys and values are the simulator's alone.
    mantissa_bits
        Of activations: 6, 8, 10 or 12.
    kv
        Format of keys and values, a `KvType`.
    weights
        Format of matrices, one of `WEIGHTS`.
    routers
        ``none``, the name of trained ones, or ``skip:`` and the sublayers that every token skips,
        as in ``skip:a7,m12`` for attention of layer 7 and the MLP of layer 12.
    policy
        Of keys and values of tokens that skip attention, a `KvPolicy`.
    split, tokens, window
        The text, tokens that are read together, and which of the windows.

    Raises
    ------
    ConfigError
        If a value is none of those that are allowed.
    """

    subject: str = "smollm2"
    engine: str = "simulator"
    mantissa_bits: int = 12
    kv: str = "F16"
    weights: str = "Q4_1"
    routers: str = NONE
    policy: str = "dense"
    split: str = "test"
    tokens: int = WINDOW
    window: int = 0

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[object, ...]] = {
            "subject": ("smollm2", "toy"),
            "engine": ("simulator", "pytorch"),
            "mantissa_bits": (6, 8, 10, 12),
            "kv": tuple(kind.name for kind in KvType),
            "weights": tuple(WEIGHTS),
            "policy": tuple(policy.value for policy in KvPolicy),
            "split": SPLITS,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(
                    f"{name} must be one of {', '.join(map(str, values))}, "
                    f"not {getattr(self, name)}"
                )
        if self.tokens < 2 or self.window < 0:
            raise ConfigError(
                f"tokens must be 2 or more and window 0 or more, not {self.tokens} and "
                f"{self.window}"
            )
        self.skipped()

    @property
    def arch(self) -> ArchSpec:
        """The instance that computes it."""
        return replace(ARCHS[INSTANCE], mantissa_bits=self.mantissa_bits, kv=KvType[self.kv])

    @property
    def setting(self) -> Point:
        """The same point at the first window: what windows have in common."""
        return replace(self, window=0)

    def windows(self, count: int) -> list[Point]:
        """The setting on this window and those after it."""
        return [replace(self, window=self.window + index) for index in range(count)]

    @property
    def trained(self) -> str:
        """Name of trained routers; empty if there are none."""
        return "" if self.routers == NONE or self.routers.startswith(ALWAYS) else self.routers

    def skipped(self) -> list[tuple[int, int]]:
        """Layer and sublayer, 0 for attention and 1 for the MLP, of ``skip:`` routers.

        Raises
        ------
        ConfigError
            If the list cannot be read.
        """
        if not self.routers.startswith(ALWAYS):
            return []
        found = []
        for name in self.routers.removeprefix(ALWAYS).split(","):
            if name[:1] not in ("a", "m") or not name[1:].isdecimal() or name == "a0":
                raise ConfigError(
                    f"{name!r} is no sublayer that can be skipped",
                    hint="Name them as in skip:a7,m12; attention of layer 0 always runs.",
                )
            found.append((int(name[1:]), "am".index(name[0])))
        return found

    def facts(self) -> dict[str, Any]:
        """All parameters by name."""
        return asdict(self)


def parse(settings: Iterable[str]) -> Point:
    """A point from ``NAME=VALUE``.

    Raises
    ------
    ConfigError
        If a name is unknown, given twice, or its value does not fit.
    """
    kinds = {name: type(value) for name, value in Point().facts().items()}
    found: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            raise ConfigError(
                f"there is no parameter {name!r}",
                hint=f"Give NAME=VALUE, with a name of {', '.join(kinds)}.",
            )
        if name in found:
            raise ConfigError(f"{name} is given twice")
        try:
            found[name] = kinds[name](value)
        except ValueError as error:
            raise ConfigError(f"{name} must be an integer, not {value!r}") from error
    return Point(**found)

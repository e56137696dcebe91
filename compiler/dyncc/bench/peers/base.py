"""What a peer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dyncc.bench.arguments import Arguments

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dyncc.runtime.program import Program


@dataclass
class Subject:
    """What a workshop knows of a network.

    Attributes
    ----------
    module
        The network in PyTorch.
    example
        Arguments to compile and to export with, with torch tensors.
    program
        Its program, whose regions run in PyTorch; None if dyncc cannot compile it.
    weights
        The weights of that program, by name.
    artifact
        A compiled network that was given, which is measured as it is.
    representatives
        A call for each of the paths that are timed, by the number of the path.
    """

    module: nn.Module
    example: tuple[Any, ...] | dict[str, Any]
    program: Program | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    artifact: Path | None = None
    representatives: dict[int, Arguments] = field(default_factory=dict)


class Leaves(Enum):
    """What of a network's results a peer gives."""

    ALL = "all of them, in their structure"
    NUMBERS = "tensors and numbers, in order, as tensors of some shape"
    TENSORS = "tensors, in order; numbers are known with the path"


class Contestant(ABC):
    """A network that was loaded and answers."""

    leaves = Leaves.ALL

    @abstractmethod
    def prepare(self, arguments: Arguments) -> Any:
        """Arguments in the form in which this peer takes them; not timed."""

    @abstractmethod
    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        """The results of a batch; each call decides for itself."""

    def notes(self) -> Mapping[str, Any]:
        """What else there is to say after it ran; numbers and texts."""
        return {}


class Peer(ABC):
    """A way to run a network.

    Attributes
    ----------
    name
        For tables.
    needs_module
        Whether it runs where torch and the network's source are.
    imports
        Modules that it runs on; importing them is not counted as loading.
    for_operators
        Whether it is worth a look where there is no control flow.
    patience
        Seconds that each of its steps may take; by default as the settings say.
    """

    name: str
    needs_module = False
    imports: tuple[str, ...] = ()
    for_operators = False
    patience: float | None = None

    @abstractmethod
    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        """Write all that is needed to run the network into an empty folder.

        Returns
        -------
        mapping
            Notes, numbers and texts. What it raises is shown as this peer's result.
        """

    @abstractmethod
    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        """Read what `build` wrote; `module` is the network if `needs_module`."""

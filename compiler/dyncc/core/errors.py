"""The one exception tree of dyncc.

::

    DynccError                 base; every error that dyncc raises on purpose
    ├── UserError         1    what the user gave cannot be used
    │   ├── ConfigError        a parameter or option is out of range or inconsistent
    │   ├── ModelError         a model file or module cannot be loaded
    │   ├── InputError         arrays do not fit the entry signature
    │   ├── UnsupportedError   constructs that cannot be compiled, all of them at once
    │   └── ArtifactError      an artifact is missing, corrupt, or of another format version
    ├── MissingToolError 3    a tool or an extra is missing
    ├── ToolError         4    an external tool or back end failed
    │   └── LinkError          a device does not answer, or not as it should
    ├── MismatchError     5    a comparison failed
    └── InternalError     70   a defect of dyncc itself

The number is the exit code of the command line. 2 is a usage error and 130 an interrupt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


class DynccError(Exception):
    """An error with a place and a way out.

    Parameters
    ----------
    message
        What is wrong, in one sentence.
    hint
        What to do about it, in one sentence.
    where
        ``file:line`` or the name of the field at fault.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints of an error; docs/diagnostics.md has the fields."""
        return {
            "ok": False,
            "exit_code": self.exit_code,
            "error": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
            "diagnostics": [],
        }


class UserError(DynccError):
    """What the user gave cannot be used."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A parameter or an option is out of range."""


class ModelError(UserError):
    """A model file or a module cannot be loaded."""


class InputError(UserError):
    """Arguments or arrays do not fit the entry signature."""


class ArtifactError(UserError):
    """An artifact is missing, corrupt, or of a format that this version does not know."""


@dataclass(frozen=True)
class Call:
    """A call that was active where something cannot be compiled.

    Attributes
    ----------
    where
        ``file:line:column`` of the call (1-based line and column).
    function
        Qualified name of the function that calls.
    """

    where: str
    function: str


@dataclass(frozen=True)
class Diagnostic:
    """One construct that cannot be compiled.

    Attributes
    ----------
    where
        ``file:line:column`` of the construct (1-based line and column).
    code
        Of its kind, such as DY201, which `dyncc.core.explanations` explains.
    construct
        The construct in the user's terms.
    why
        Why it cannot be compiled.
    hint
        The smallest change that would help.
    source
        The source line, to print with carets below it.
    column
        0-based column of the first caret within `source`, in characters.
    end_column
        0-based column after the last caret, or None if it is not known.
    calls
        The calls that lead to the construct, outermost first. The same construct is reported once,
        for the first way that leads to it.
    """

    where: str
    code: str
    construct: str
    why: str
    hint: str
    source: str = ""
    column: int = 0
    end_column: int | None = None
    calls: tuple[Call, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.code} {self.construct}: {self.why}"]
        if self.source:
            text = self.source.rstrip()
            margin = len(text) - len(text.lstrip())
            # A tab stays one, so that the carets stand below what they mean.
            blank = "".join("\t" if sign == "\t" else " " for sign in text[margin : self.column])
            carets = "^" * max(1, (self.end_column or 0) - self.column)
            lines += [f"    {text.lstrip()}", f"    {blank}{carets}"]
        lines += [f"  called from {call.where} in {call.function}" for call in reversed(self.calls)]
        lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it; lines and columns begin at 1, `end_column` is exclusive."""
        file, line, column = _place(self.where)
        return {
            "file": file,
            "line": line,
            "column": column,
            "end_column": None if self.end_column is None else self.end_column + 1,
            "code": self.code,
            "construct": self.construct,
            "reason": self.why,
            "hint": self.hint,
            "source": self.source.rstrip(),
            "calls": [
                dict(zip(("file", "line", "column"), _place(call.where), strict=True))
                | {"function": call.function}
                for call in self.calls
            ],
        }


def _place(where: str) -> tuple[str, int | None, int | None]:
    """File, line and column; one that is no place in a file, such as a weight's name, alone."""
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
        return parts[0], int(parts[1]), int(parts[2])
    return where, None, None


class UnsupportedError(UserError):
    """Constructs that cannot be compiled; carries every one that was found."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        count = len(self.diagnostics)
        noun = "construct" if count == 1 else "constructs"
        self.summary = f"{count} {noun} cannot be compiled"
        super().__init__(f"{self.summary}\n" + "\n".join(map(str, diagnostics)))

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints: each construct by its parts."""
        found = [item.to_json() for item in self.diagnostics]
        return {**super().to_json(), "message": self.summary, "diagnostics": found}


class MissingToolError(DynccError):
    """A tool, package or extra is missing from this machine."""

    exit_code = 3


class ToolError(DynccError):
    """An external tool or a back end failed.

    Parameters
    ----------
    log
        The tail of what the tool printed.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, hint: str | None = None, where: str | None = None, log: str = ""
    ) -> None:
        super().__init__(message, hint=hint, where=where)
        self.log = log

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.log.rstrip()}" if self.log else super().__str__()


class LinkError(ToolError):
    """A device does not answer, or not as it should, or reports a fault."""


class MismatchError(DynccError):
    """A comparison failed: compiled and reference results differ."""

    exit_code = 5


class InternalError(DynccError):
    """A defect of dyncc: an invariant of its own does not hold."""

    exit_code = 70

    def __init__(self, message: str, *, where: str | None = None) -> None:
        super().__init__(
            message, hint="This is a defect of dyncc: please report it with the model.", where=where
        )

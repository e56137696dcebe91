"""Peers that do not do what they should; other processes import this module."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dyncc.bench.arguments import Arguments
from dyncc.bench.peers.base import Contestant, Peer, Subject


class _Constant(Contestant):
    def prepare(self, arguments: Arguments) -> Any:
        return arguments.positional[0]

    def answer(self, prepared: Sequence[Any]) -> list[Any]:
        return [array + 1 for array in prepared]


class _Broken(Peer):
    needs_module = True

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        return {}

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        return _Constant()


class Wrong(_Broken):
    name = "wrong"


class Unbuildable(_Broken):
    name = "unbuildable"

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        raise NotImplementedError("\n\n  no such thing | here\nand more")


class Fatal(_Broken):
    name = "fatal"

    def build(self, subject: Subject, folder: Path) -> Mapping[str, Any]:
        os.abort()


class Crashing(_Broken):
    name = "crashing"

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        os.abort()


class Hanging(_Broken):
    name = "hanging"
    patience = 3.0

    def load(self, module: nn.Module | None, folder: Path) -> Contestant:
        time.sleep(1000)
        raise AssertionError

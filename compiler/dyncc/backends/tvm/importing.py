"""From a region to a Relax function: torch.export, then TVM's front end.

Parameters come first and weights after them, all as arguments of the function.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import tvm
from torch import Tensor, fx
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from dyncc.backends.aten import RegionModule
from dyncc.backends.tvm.converters import CONVERTERS
from dyncc.backends.tvm.nodes import Converter, check_result
from dyncc.ir.hcfg import Region, Value
from dyncc.ir.types import DTYPES, TensorType

#: Extents that stand for symbols while a region is traced; large and odd, so that torch does not
#: take them for a constant of the program.
_FIRST_EXTENT = 37


def _example(value: Value, extents: dict[str, int]) -> Tensor:
    kind = value.type
    if not isinstance(kind, TensorType):
        raise TypeError(f"a region takes tensors only, not {kind}")
    shape = [
        extent
        if isinstance(extent, int)
        else extents.setdefault(extent, _FIRST_EXTENT + 2 * len(extents))
        for extent in kind.shape
    ]
    return torch.zeros(shape, dtype=getattr(torch, DTYPES[kind.dtype]))


def _dynamic(values: Sequence[Value]) -> Any:
    """Return torch.export's description of the symbolic extents, or None without any."""
    kinds = [value.type for value in values if isinstance(value.type, TensorType)]
    if all(kind.is_static for kind in kinds):
        return None
    names = {extent for kind in kinds for extent in kind.shape if isinstance(extent, str)}
    symbols = {name: torch.export.Dim(name) for name in sorted(names)}
    return (
        tuple(
            {axis: symbols[extent] for axis, extent in enumerate(kind.shape) if extent in symbols}
            for kind in kinds
        ),
    )


class _Importer(ExportedProgramImporter):  # type: ignore[misc]
    """TVM's importer, with each result's type checked against torch's."""

    def create_convert_map(self) -> dict[str, Callable[[fx.Node], Any]]:
        """Return all conversions by name."""
        own: dict[str, Callable[[fx.Node], Any]] = {
            name: functools.partial(_with_importer, converter, self)
            for name, converter in CONVERTERS.items()
        }
        table = {**super().create_convert_map(), **own}
        return {name: functools.partial(_checked, convert) for name, convert in table.items()}


def _with_importer(converter: Converter, importer: Any, node: fx.Node) -> Any:
    return converter(node, importer)


def _checked(convert: Callable[[fx.Node], Any], node: fx.Node) -> Any:
    result = convert(node)
    check_result(node, result)
    return result


def import_region(region: Region) -> tvm.IRModule:
    """Translate a region to Relax.

    Parameters
    ----------
    region
        The region.

    Returns
    -------
    IRModule
        Its function ``main`` takes ``(*params, *weights)`` and returns a tuple of the region's
        results; kernels that it calls may stand beside it.
    """
    values = (*region.params, *region.weights)
    extents: dict[str, int] = {}
    examples = tuple(_example(value, extents) for value in values)
    with torch.no_grad(), warnings.catch_warnings():
        # torch.export uses names of its own that it has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(
            RegionModule(region).eval(), examples, dynamic_shapes=_dynamic(values), strict=False
        ).run_decompositions()
    return _Importer().from_exported_program(
        program,
        keep_params_as_input=False,
        unwrap_unit_return_tuple=False,
        no_bind_return_tuple=False,
        custom_convert_map=None,
    )

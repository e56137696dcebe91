"""From a region to a Relax function: torch.export, then TVM's front end.

Parameters come first and weights after them, all as arguments of the function.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
import tvm
from torch import fx
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from dyncc.backends.aten import RegionModule, example
from dyncc.backends.tvm.converters import CONVERTERS
from dyncc.backends.tvm.nodes import Converter, check_result
from dyncc.backends.tvm.views import without_views
from dyncc.ir.hcfg import Region


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


def _give_strides(graph: fx.Graph) -> None:
    """Write out strides that are the window's size, which PyTorch gives as an empty list."""
    for node in graph.nodes:
        if "_pool" in str(node.target) and node.args[2:] and node.args[2] == []:
            node.update_arg(2, node.args[1])


def import_region(region: Region) -> tvm.IRModule:
    """Translate a region to Relax.

    Parameters
    ----------
    region
        The region; its sizes are known.

    Returns
    -------
    IRModule
        Its function ``main`` takes ``(*params, *weights)`` and returns a tuple of the region's
        results; kernels that it calls may stand beside it.
    """
    examples = tuple(example(value) for value in (*region.params, *region.weights))
    with torch.no_grad(), warnings.catch_warnings():
        # torch.export uses names of its own that it has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(
            RegionModule(region).eval(), examples, strict=False
        ).run_decompositions()
    _give_strides(program.graph)
    module = _Importer().from_exported_program(
        program,
        keep_params_as_input=False,
        unwrap_unit_return_tuple=False,
        no_bind_return_tuple=False,
        custom_convert_map=None,
    )
    return without_views(module)

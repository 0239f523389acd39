"""Bring any ONNX model to the one form that the later stages read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.errors import FrontendError, InternalError
from edgesparse.frontend.affine import fold_affine, hoist_factors
from edgesparse.frontend.attributes import require_defined
from edgesparse.frontend.canonical import canonicalise
from edgesparse.frontend.cleanup import clean_up, tidy
from edgesparse.frontend.fitting import require_fitting
from edgesparse.frontend.fold import require_room
from edgesparse.frontend.functions import inline_functions
from edgesparse.frontend.fuse import fuse_patterns
from edgesparse.frontend.opset import convert_opset
from edgesparse.frontend.padding import resolve_padding
from edgesparse.frontend.qoperators import write_out_quantized
from edgesparse.frontend.read import read
from edgesparse.frontend.recurrent import expand_recurrent
from edgesparse.frontend.settling import settle_quantized
from edgesparse.frontend.shapes import (
    InputShapes,
    fix_inputs,
    forget_shapes,
    infer_shapes,
    require_static,
    require_tensors,
    shapeless_nodes,
)
from edgesparse.frontend.source import Source
from edgesparse.frontend.support import Supports, expand_functions, name_nodes
from edgesparse.frontend.transposes import join_transposes, place_transposes
from edgesparse.frontend.types import require_types
from edgesparse.graph.provenance import joined, keep, origins

IR_VERSION = 9
"""The file version that belongs to opset 20; from 4 on, initializers need not be inputs too."""

NESTING = 3
"""How many times operators are written out by ONNX's definitions, which may use such operators again."""

PASSES: tuple[Callable[[ir.Model], None], ...] = (
    place_transposes,
    fuse_patterns,
    hoist_factors,
    fold_affine,
    canonicalise,
    fold_affine,
    join_transposes,
    settle_quantized,
)


def load(
    source: Source,
    input_shapes: InputShapes | None = None,
    supports: Supports | None = None,
) -> ir.Model:
    """Read and normalise a model: what `read` and `normalise` say.

    Args:
        supports: why a node cannot be compiled, or None; operators it refuses are written out by ONNX's own
            definition of them where there is one. Use `unsupported` afterwards to report what is left.
    """
    model = normalise(read(source), input_shapes)
    for _ in range(NESTING):
        if supports is None or all(supports(node) is None for node in model.graph.all_nodes()):
            break
        model = normalise(expand_functions(model, supports))
    return model


def normalise(model: ir.Model, input_shapes: InputShapes | None = None) -> ir.Model:
    """Return `model` in the normal form described in this room's README; `model` itself is not changed.

    Args:
        input_shapes: full static shapes by input name; other batch sizes become 1.

    Raises: FrontendError: `input_shapes` do not fit, or a shape depends on data.
    """
    names = [[value.name for value in values] for values in (model.graph.inputs, model.graph.outputs)]
    with _silenced("onnx_ir", "onnxscript"):
        model = infer_shapes(_prepare(model, input_shapes))
        require_types(model)
        require_fitting(model)
        require_defined(model)
        require_room(model)
        model = _shape_by_definition(model)
        expand_recurrent(model)
        model = infer_shapes(tidy(model))
        for apply in PASSES:
            apply(model)
            model = infer_shapes(tidy(model))
        require_static(model)
        _require_names(model, names)
        return _share_constants(model)


def _require_names(model: ir.Model, names: Sequence[Sequence[str | None]]) -> None:
    """Check that inputs and outputs have the names and the order of the file.

    Raises: InternalError: they have not.
    """
    for values, given in zip((model.graph.inputs, model.graph.outputs), names, strict=True):
        kept = [value.name for value in values]
        if kept != [name for name in dict.fromkeys(given) if name in set(kept)]:
            raise InternalError(f"normalising renamed {list(given)} to {kept}")


def _prepare(model: ir.Model, input_shapes: InputShapes | None) -> ir.Model:
    """A copy of `model` with a static signature, no functions, no constant expressions and no constant branches."""
    try:
        model = model.clone()
    except (RuntimeError, ValueError) as err:
        raise FrontendError("some nodes read what later nodes compute; remedy: model.graph.sort()") from err
    model.ir_version = max(model.ir_version, IR_VERSION)
    name_nodes(model)
    common.RemoveInitializersFromInputsPass()(model)
    require_tensors(model)
    fix_inputs(model, input_shapes)
    forget_shapes(model)
    convert_opset(model)
    model = inline_functions(model)
    write_out_quantized(model)
    return resolve_padding(clean_up(resolve_padding(model)))


@contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """Hold back the warnings of libraries: what they cannot do stays as it is, and is reported by what it breaks."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shape_by_definition(model: ir.Model) -> ir.Model:
    """Write out operators for which onnx infers no shape, where it defines them by operators that it can infer."""
    shapeless = {(node.domain, node.op_type) for node in shapeless_nodes(model)}
    if not shapeless:
        return model
    expanded = expand_functions(model, lambda node: "no shape" if (node.domain, node.op_type) in shapeless else None)
    written_out = infer_shapes(clean_up(expanded))
    return model if shapeless_nodes(written_out) else written_out  # else errors would name nodes nobody wrote


def _share_constants(model: ir.Model) -> ir.Model:
    """Keep equal constants once, with the origins of all of them."""
    reads = {(node, at): origins(value) for node in model.graph.all_nodes() for at, value in enumerate(node.inputs)}
    common.DeduplicateHashedInitializersPass()(model)
    for (node, at), found in reads.items():
        value = node.inputs[at]
        if value is not None and value.const_value is not None and set(found) - set(kept := origins(value)):
            old = value.const_value
            value.const_value = ir.Tensor(old.numpy(), dtype=old.dtype, name=old.name)  # the old one is the file's
            keep(value, joined("", (kept, found)))
    return common.RemoveUnusedNodesPass()(model).model

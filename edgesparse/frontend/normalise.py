"""Bring any ONNX model to the one form that the later stages read."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from edgesparse.frontend.affine import fold_affine, hoist_factors
from edgesparse.frontend.canonical import canonicalise
from edgesparse.frontend.fold import fold_constants, simplify
from edgesparse.frontend.fuse import drop_leftovers, fuse_patterns
from edgesparse.frontend.opset import convert_opset
from edgesparse.frontend.read import Source, read
from edgesparse.frontend.shapes import (
    Bindings,
    InputShapes,
    fix_inputs,
    forget_shapes,
    infer_shapes,
    require_static,
)
from edgesparse.frontend.support import Supports, expand_functions


IR_VERSION = 9
"""The file version that belongs to opset 20; from 4 on, initializers need not be inputs too."""


def load(
    source: Source,
    input_shapes: InputShapes | None = None,
    bind: Bindings | None = None,
    supports: Supports | None = None,
) -> ir.Model:
    """Read and normalise a model: what `read` and `normalise` say.

    Args:
        supports: why a node cannot be compiled, or None; operators it refuses are written out by ONNX's own
            definition of them where there is one. Use `unsupported` afterwards to report what is left.
    """
    model = normalise(read(source), input_shapes, bind)
    if supports is not None and any(supports(node) is not None for node in model.graph.all_nodes()):
        model = normalise(expand_functions(model, supports))
    return model


def normalise(model: ir.Model, input_shapes: InputShapes | None = None, bind: Bindings | None = None) -> ir.Model:
    """Return `model` in the normal form described in this room's README; `model` itself is not changed.

    Args:
        input_shapes: full static shapes by input name; other dynamic dimensions become 1.
        bind: inputs frozen to constants, for inputs that decide shapes.

    Raises: FrontendError: `input_shapes` or `bind` do not fit, or a shape depends on data.
    """
    model = model.clone()
    model.ir_version = max(model.ir_version, IR_VERSION)
    common.RemoveInitializersFromInputsPass()(model)
    fix_inputs(model, input_shapes, bind)
    forget_shapes(model)
    model = _inline_functions(model)
    fold_constants(model)
    if any(True for _ in model.graph.subgraphs()):  # constant branches go before the conversion, which stops at them
        model = simplify(model) or model
    model = convert_opset(model)
    model = _clean(simplify(model) or _optimize(model))
    fold_constants(model)
    model = infer_shapes(model)
    for apply in (fuse_patterns, hoist_factors, fold_affine, canonicalise, fold_affine, drop_leftovers):
        apply(model)
        model = infer_shapes(_clean(model))
    require_static(model)
    return _share_constants(model)


def _inline_functions(model: ir.Model) -> ir.Model:
    if not model.functions:
        return model
    return ir.from_proto(onnx.inliner.inline_local_functions(ir.to_proto(model), convert_version=True))


def _optimize(model: ir.Model) -> ir.Model:
    """onnxscript's optimizer, for models ONNX Runtime cannot open."""
    optimized: ir.Model = optimizer.optimize(model, input_size_limit=1 << 30, output_size_limit=1 << 30)
    return optimized


def _share_constants(model: ir.Model) -> ir.Model:
    return common.RemoveUnusedNodesPass()(common.DeduplicateHashedInitializersPass()(model).model).model


def _clean(model: ir.Model) -> ir.Model:
    """Remove what nothing reads, and give every node and value a unique name."""
    passes = [
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.OutputFixPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
        common.RemoveUnusedOpsetsPass(),
    ]
    for apply in passes:
        model = apply(model).model
    return model

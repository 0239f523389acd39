"""Read a model as it is: checked, with its external data, and not changed. Other models become ONNX first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import load_external_data_for_model

from edgesparse.errors import FrontendError
from edgesparse.frontend.repair import repaired
from edgesparse.frontend.source import Examples, Importer, Source, importer_of, is_onnx
from edgesparse.frontend.sparse_constants import densified
from edgesparse.frontend.wellformed import require_wellformed
from edgesparse.inputs import content, said
from edgesparse.signatures import ONNX

MOST_SAID = 400
"""The most characters quoted from a library's message: a location in it can be of any length."""


def read(source: Source, examples: Examples = None, fallback: Mapping[str, np.ndarray] | None = None) -> ir.Model:
    """Return the model in `source`: a path, a model in memory, or "package.module:factory".

    Weights outside the file are read from its own directory or below; a path that leaves it is refused.

    Args:
        examples: inputs to trace a PyTorch module with.
        fallback: such inputs by name, for a module that comes with none.

    Raises: FrontendError: the file cannot be read, is not a valid ONNX model, or has an unknown opset; the PyTorch
        model cannot be found, traced or exported, or PyTorch is not installed.
    """
    importer = importer_of(source)
    if importer is not None:
        return _from_checked(_imported(importer, source, examples, fallback), _named(source))
    if examples is not None:
        raise FrontendError(f"{_named(source)}: is ONNX; example inputs are for PyTorch modules only")
    if isinstance(source, ir.Model):
        return source
    if isinstance(source, onnx.ModelProto):
        return _from_checked(source, "model")
    path = Path(source)
    return _from_checked(_parse(path), str(path))


def blank(source: Source, shapes: Mapping[str, Sequence[int]] | None) -> dict[str, np.ndarray] | None:
    """Float32 inputs of these shapes to trace a PyTorch model with; None where there are no shapes, or it is ONNX.

    Raises: FrontendError: one is larger than memory.
    """
    if not shapes or is_onnx(source):
        return None
    try:
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    except (MemoryError, ValueError) as err:
        raise FrontendError(f"--input-shape: {said(err)}; give smaller sizes") from err


def _named(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _imported(
    importer: Importer, source: Source, examples: Examples, fallback: Mapping[str, np.ndarray] | None
) -> onnx.ModelProto:
    try:
        package = import_module(f"edgesparse.frontend.{importer.package}")
    except ModuleNotFoundError as err:
        if err.name != importer.needs:
            raise
        remedy = f"pip install 'edgesparse[{importer.needs}]'"
        missing = f"needs {importer.title}, which is not installed; remedy: {remedy}"
        raise FrontendError(f"{_named(source)}: {missing}") from err
    return ir.to_proto(package.read(source, examples, fallback))


def _parse(path: Path) -> onnx.ModelProto:
    data = content(path, "an ONNX model", FrontendError, ONNX)
    if not data:
        raise FrontendError(f"{path}: the file is empty; expected an ONNX model")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as err:
        instead = "but text" if _is_text(data) else "or cut short"
        raise FrontendError(
            f"{path}: not an ONNX model, {instead}; expected an .onnx or .pt2 file, or package.module:function"
        ) from err
    try:
        load_external_data_for_model(proto, str(path.parent))
    except (onnx.checker.ValidationError, OSError, RuntimeError, ValueError) as err:
        why = said(err)
        why = why if len(why) <= MOST_SAID else f"{why[:MOST_SAID]}..."
        raise FrontendError(f"{path}: external data cannot be loaded: {why}") from err
    return proto


def _is_text(data: bytes) -> bool:
    try:
        return not any(sign < " " and not sign.isspace() for sign in data.decode())
    except UnicodeDecodeError:
        return data.startswith((b"\xff\xfe", b"\xfe\xff"))


def _from_checked(proto: onnx.ModelProto, where: str) -> ir.Model:
    proto = repaired(densified(proto, where))
    require_wellformed(proto, where)
    try:
        model: ir.Model = ir.from_proto(proto)
    except ir.serde.SerdeError as err:
        cause: BaseException = err
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise FrontendError(f"{where}: invalid ONNX: {said(cause)}") from err
    return model

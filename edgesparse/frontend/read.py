"""Read an ONNX file as it is: checked, with its external data, and not changed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import load_external_data_for_model

from edgesparse.errors import FrontendError

OLDEST_OPSET = 1

Source: TypeAlias = str | Path | onnx.ModelProto | ir.Model


def read(source: Source) -> ir.Model:
    """Return the model in `source`; a path, or a model that is already in memory.

    Weights outside the file are read from its own directory or below; a path that leaves it is refused.

    Raises: FrontendError: the file cannot be read, is not a valid ONNX model, or has an unknown opset.
    """
    if isinstance(source, ir.Model):
        return source
    if isinstance(source, onnx.ModelProto):
        return _from_checked(source, "model")
    path = Path(source)
    proto = _parse(path)
    try:
        load_external_data_for_model(proto, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as err:
        raise FrontendError(f"{path}: external data cannot be loaded: {_first_line(err)}") from err
    return _from_checked(proto, str(path))


def _parse(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as err:
        raise FrontendError(f"{path}: cannot be read: {err.strerror or err}") from err
    if not data:
        raise FrontendError(f"{path}: the file is empty; expected an ONNX model")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as err:
        raise FrontendError(f"{path}: not an ONNX model, or cut short: {_first_line(err)}") from err
    return proto


def _from_checked(proto: onnx.ModelProto, where: str) -> ir.Model:
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not proto.graph.output or not proto.opset_import:
        raise FrontendError(f"{where}: not an ONNX model: it has no graph with outputs and operator versions")
    newest = onnx.defs.onnx_opset_version()
    if opset and not OLDEST_OPSET <= opset <= newest:
        raise FrontendError(f"{where}: opset {opset} is not supported; expected {OLDEST_OPSET} to {newest}")
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as err:
        raise FrontendError(f"{where}: invalid ONNX: {_first_line(err)}") from err
    model: ir.Model = ir.from_proto(proto)
    return model


def _first_line(err: BaseException) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0] if lines else type(err).__name__

"""Where each ONNX value lives while the graph is lowered.

A value can be held in two layouts: `rows`, as ONNX has it, and `columns`, a matrix [N, F] stored as [F, N], which
linear layers read and write. A layout that is missing is made by one transposition when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InternalError
from edgesparse.lower.kernel import Call, Constant, Tensor
from edgesparse.lower.kernels.transpose import transpose
from edgesparse.lower.nodes import constant, tensor
from edgesparse.targets import Target

MARK = "\x1f"
"""In the name of a tensor that is not an ONNX value as ONNX lays it out."""


class Scope:
    """Tensors by value, and the calls emitted so far."""

    def __init__(self, inputs: Sequence[ir.Value], target: Target) -> None:
        self.target = target
        self.calls: list[Call] = []
        self._rows: dict[str, Tensor] = {str(v.name): tensor(v) for v in inputs}
        self._columns: dict[str, Tensor] = {}
        self._written: set[str] = set()

    def emit(self, calls: Sequence[Call]) -> None:
        """Append calls that name their tensors by ONNX value, and make their writes known."""
        for call in calls:
            reads = tuple(self._resolve(r) if isinstance(r, Tensor) else r for r in call.reads)
            self.emit_stored(replace(call, reads=reads))
            self._rows |= {write.name: write for write in call.writes}

    def emit_stored(self, call: Call) -> None:
        """Append a call whose reads are tensors that this scope handed out; its writes get no ONNX name here."""
        self.calls.append(call)
        self._written |= {write.name for write in call.writes}

    def write_rows(self, value: ir.Value) -> Tensor:
        """Declare that the value is written as ONNX lays it out; returns the tensor to write."""
        self._rows[str(value.name)] = tensor(value)
        return self._rows[str(value.name)]

    def is_written(self, stored: Tensor) -> bool:
        """Some call emitted so far writes this tensor."""
        return stored.name in self._written

    def rows(self, value: ir.Value) -> Tensor | Constant:
        """The value as ONNX lays it out."""
        array = constant(value)
        if array is not None:
            return Constant(np.ascontiguousarray(array))
        return self._resolve(tensor(value))

    def columns(self, value: ir.Value) -> Tensor | Constant:
        """The value [..., F] stored as [F, N]."""
        array = constant(value)
        if array is not None:
            return Constant(np.ascontiguousarray(array.reshape(-1, array.shape[-1]).T))
        name = str(value.name)
        if name not in self._columns:
            source = self._resolve(tensor(value))
            n, f = prod(source.shape[:-1]), source.shape[-1]
            if 1 in (n, f):
                self._columns[name] = source
            else:
                self._columns[name] = self._transpose(source, (n, f), f"{name}{MARK}columns")
        return self._columns[name]

    def write_columns(self, value: ir.Value) -> Tensor:
        """Declare that the value is written as [F, N]; returns the tensor to write."""
        whole = tensor(value)
        n = prod(whole.shape[:-1])
        if 1 in (n, whole.shape[-1]):
            return self.write_rows(value)
        written = Tensor(f"{whole.name}{MARK}columns", (whole.shape[-1], n), whole.dtype)
        self._columns[whole.name] = written
        return written

    def has_rows(self, value: ir.Value) -> bool:
        """The value is already stored as ONNX lays it out."""
        return str(value.name) in self._rows

    def has_columns(self, value: ir.Value) -> bool:
        """The value is already stored as [F, N]."""
        return str(value.name) in self._columns

    def view(self, value: ir.Value, source: ir.Value) -> None:
        """Make `value` another shape of the memory of `source`, in every layout that it shares."""
        name, whole = str(value.name), tensor(value)
        keeps_features = whole.shape[-1:] == tensor(source).shape[-1:]
        if keeps_features and self.has_columns(source):
            self._columns[name] = self._columns[str(source.name)]
        if self.has_rows(source) or name not in self._columns:
            self._rows[name] = Tensor(self._resolve(tensor(source)).name, whole.shape, whole.dtype)

    def _resolve(self, whole: Tensor) -> Tensor:
        name = whole.name
        if name not in self._rows:
            if name not in self._columns:
                raise InternalError(f"value {name!r} is read before it is written")
            stored = self._columns[name]
            self._rows[name] = self._transpose(stored, stored.shape, name)  # type: ignore[arg-type]
        return replace(self._rows[name], shape=whole.shape)

    def _transpose(self, source: Tensor, shape: tuple[int, int], name: str) -> Tensor:
        written = Tensor(name, shape[::-1], source.dtype)
        kernel = transpose(shape, (1, 0), source.dtype, self.target)
        self.emit_stored(Call(f"{name}/transpose", "Transpose", kernel, (source,), (written,)))
        return written

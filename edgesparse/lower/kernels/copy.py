"""Copy a constant into the arena, for a model output that does not depend on its inputs."""

from __future__ import annotations

import numpy as np
from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.lower.kernel import Call, Constant, Param, Tensor, build_kernel, kernel_symbol
from edgesparse.targets import Target


def copy_constant(written: Tensor, array: np.ndarray, target: Target) -> Call:
    """A call that writes `array` to `written`, any dtype."""
    dtype = "uint8" if written.dtype == "bool" else written.dtype

    def body(tile: Expr, x: Buffer, y: Buffer) -> None:
        with T.serial(0, written.size) as i:
            T.buffer_store(y, x[i], [i])

    params = [Param(written.size, dtype), Param(written.size, dtype)]
    kernel = build_kernel(kernel_symbol("copy", written.size, dtype, target.name), params, 1, body)
    return Call(written.name, "Constant", kernel, (Constant(array),), (written,))

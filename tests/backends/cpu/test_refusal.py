"""A check lets every allowed array pass and refuses the first value that is not allowed, on every target."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.assemble import assemble
from edgesparse.backends.cpu.kernel import Call, Param, Tensor
from edgesparse.backends.cpu.kernels.copy import transpose_copy
from edgesparse.backends.cpu.kernels.refusal import bounded
from edgesparse.backends.cpu.walk import Lowered
from edgesparse.numerics import I64, element
from edgesparse.package.writer import write
from runtime import build
from runtime.tests.conftest import launcher, run_program
from tests.backends.cpu.executor import HOST, KernelFault, load_calls, run_image
from tests.backends.cpu.single import ARM

LOWEST, HIGHEST = -5, 4
SIZES = (1, 7, 8, 9, 33, 9001)
DTYPES = ("int64", "int32")


def check(size: int, dtype: str = "int64") -> Call:
    """Of an array `ids`."""
    return Call(
        "gather",
        "Gather",
        bounded(Param(size, element(dtype)), (LOWEST,), (HIGHEST,)),
        (Tensor("ids", (size,), element(dtype)),),
        (),
    )


@pytest.fixture(scope="module")
def image():
    """The checks of all sizes and types."""
    return load_calls([check(size, dtype) for size in SIZES for dtype in DTYPES])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_allowed_values_pass(image, size, dtype):
    ids = np.resize(np.arange(LOWEST, HIGHEST + 1, dtype=dtype), size)

    assert run_image(image, [check(size, dtype)], {"ids": ids}) == {}


@pytest.mark.parametrize("wrong", [LOWEST - 1, HIGHEST + 1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_lowest_wrong_element_is_reported(image, size, dtype, wrong):
    ids = np.zeros(size, dtype)
    ids[[size // 2, -1]] = wrong

    with pytest.raises(KernelFault) as caught:
        run_image(image, [check(size, dtype)], {"ids": ids}, chunks=1)

    assert caught.value == KernelFault(1, 0, size // 2, wrong, LOWEST, HIGHEST)


@pytest.mark.parametrize("target", [HOST, *ARM], ids=lambda target: target.cpu.isa)
def test_artifact_names_the_value_and_its_limits(target, tmp_path):
    """From a kernel to the message of a run: of a copy that a check guards."""
    size = 33
    ids, y = Tensor("ids", (size,), I64), Tensor("y", (size,), I64)
    copy = Call("copy", "Identity", transpose_copy((1, size), (1, 0), I64, target), (ids,), (y,))
    lowered = Lowered((check(size), copy), {"ids": ids}, {"y": y})
    write([assemble(lowered, target)], {}, tmp_path / "model.esp")
    right, wrong = np.resize(np.arange(LOWEST, HIGHEST + 1), size), np.zeros(size, np.int64)
    wrong[7] = HIGHEST + 1
    esrun = [*launcher(target.cpu.isa), build.esrun(target.cpu.isa), tmp_path / "model.esp"]

    def run(values: np.ndarray) -> tuple[int, str]:
        np.save(tmp_path / "ids.npy", values)
        done = run_program(*esrun, "--input", tmp_path / "ids.npy", "--output", tmp_path / "y.npy")
        return done.returncode, done.stderr

    status, message = run(wrong)
    assert status == 1
    assert "step 0 'gather' (Gather): element 7 of 'ids' is 5, expected -5 to 4 (ES_ERR_INPUT)" in message
    assert not (tmp_path / "y.npy").exists()

    assert run(right) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), right)

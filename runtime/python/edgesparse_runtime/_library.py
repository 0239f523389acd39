"""The C library, as ctypes sees it; every declaration mirrors runtime/include/edgesparse.h."""

from __future__ import annotations

import ctypes
import functools
import platform
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

MAX_RANK = 8
PICTURES = ("", "rgb", "bgr", "grey", "rgb-planes", "bgr-planes")
"""The names of es_picture."""
OPEN_VERIFY_WEIGHTS = 1

_OK = 0
_LIBRARIES = "libedgesparse[.-]*so"  # one; or, in the compiler's wheel, which is for any machine, one for each platform


class EdgesparseRuntimeError(ValueError):
    """An artifact cannot be opened, or an input does not fit it; `status` is such as "ES_ERR_CORRUPT"."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class Error(Structure):
    """es_error."""

    _fields_ = (("message", c_char * 256),)


class ModelInfo(Structure):
    """es_model_info."""

    _fields_ = (
        ("input_count", c_size_t),
        ("output_count", c_size_t),
        ("step_count", c_size_t),
        ("arena_bytes", c_size_t),
        ("scratch_bytes", c_size_t),
        ("weights_bytes", c_size_t),
        ("code_bytes", c_size_t),
        ("plan", c_size_t),
        ("plan_count", c_size_t),
        ("isa", c_char_p),
        ("manifest", c_void_p),
        ("manifest_bytes", c_size_t),
        ("labels", c_void_p),
        ("labels_bytes", c_size_t),
        ("label_count", c_size_t),
        ("labels_output", c_size_t),
    )


class TensorInfo(Structure):
    """es_tensor_info."""

    _fields_ = (
        ("name", c_char_p),
        ("dtype_name", c_char_p),
        ("dtype", c_int),
        ("rank", c_uint32),
        ("dims", c_uint32 * MAX_RANK),
        ("size_bytes", c_size_t),
        ("picture", c_int),
    )


class StepInfo(Structure):
    """es_step_info."""

    _fields_ = (("name", c_char_p), ("op", c_char_p), ("kernel", c_char_p), ("tiles", c_uint32))


class Buffer(Structure):
    """es_input and es_output."""

    _fields_ = (("data", c_void_p), ("size_bytes", c_size_t))


class PoolOptions(Structure):
    """es_pool_options."""

    _fields_ = (
        ("size_bytes", c_size_t),
        ("threads", c_uint32),
        ("spin_us", c_uint32),
        ("priority", c_uint32),
        ("cores", POINTER(c_uint32)),
        ("core_count", c_size_t),
    )


_RUN = (c_void_p, POINTER(Buffer), c_size_t, POINTER(Buffer), c_size_t)
_SIGNATURES = {
    "es_version": (c_char_p, ()),
    "es_status_name": (c_char_p, (c_int,)),
    "es_status_message": (c_char_p, (c_int,)),
    "es_model_open_file": (c_int, (c_char_p, c_uint32, POINTER(c_void_p), POINTER(Error))),
    "es_model_open_memory": (c_int, (c_void_p, c_size_t, c_uint32, POINTER(c_void_p), POINTER(Error))),
    "es_model_close": (None, (c_void_p,)),
    "es_model_describe": (None, (c_void_p, POINTER(ModelInfo))),
    "es_model_input": (c_int, (c_void_p, c_size_t, POINTER(TensorInfo))),
    "es_model_output": (c_int, (c_void_p, c_size_t, POINTER(TensorInfo))),
    "es_model_step": (c_int, (c_void_p, c_size_t, POINTER(StepInfo))),
    "es_pool_open": (c_int, (POINTER(PoolOptions), POINTER(c_void_p), POINTER(Error))),
    "es_pool_close": (None, (c_void_p,)),
    "es_place_thread": (c_int, (POINTER(c_uint32), c_size_t, c_uint32, POINTER(Error))),
    "es_session_open_in": (c_int, (c_void_p, c_void_p, POINTER(c_void_p), POINTER(Error))),
    "es_session_open": (c_int, (c_void_p, c_uint32, POINTER(c_void_p), POINTER(Error))),
    "es_session_close": (None, (c_void_p,)),
    "es_session_run": (c_int, (*_RUN, POINTER(Error))),
    "es_session_profile": (c_int, (*_RUN, POINTER(c_uint64), POINTER(Error))),
    "es_session_verify": (c_int, (c_void_p, POINTER(c_size_t), POINTER(Error))),
}


@functools.cache
def library() -> ctypes.CDLL:
    """Load the C library; ctypes releases the GIL while one of its functions runs.

    Raises: EdgesparseRuntimeError: none is for this machine.
    """
    loaded = load(_LIBRARIES)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded


def load(pattern: str) -> ctypes.CDLL:
    """The library beside this file that is for this machine.

    Raises: EdgesparseRuntimeError: none is.
    """
    failures = []
    for path in sorted(Path(__file__).parent.glob(pattern)):
        try:
            return ctypes.CDLL(str(path))
        except OSError as err:  # most often one for another machine
            failures.append(str(err))
    here = f"{platform.system()} on {platform.machine()}"
    expected = "expected Linux on x86_64, aarch64 or armv7 with glibc"
    raise EdgesparseRuntimeError(
        f"{Path(__file__).parent}: no library loads on {here}, {expected}: {'; '.join(failures)}", "ES_ERR_UNSUPPORTED"
    )


def check(status: int, error: Error, where: str = "") -> None:
    """Raise what a function of the library reported, if it failed."""
    if status != _OK:
        name = library().es_status_name(status).decode()
        raise EdgesparseRuntimeError(where + error.message.decode(errors="replace"), name)

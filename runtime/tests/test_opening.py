"""Opening takes time linear in the size of a file, in C and in Python, whatever it holds."""

from __future__ import annotations

import ctypes
import time

import pytest
from edgesparse_runtime import _library

from edgesparse.package.reader import parse
from runtime.tests.worst import WORST

SECONDS = 2.0  # for 100 MB, of CPU


def open_in_c(data: bytes) -> None:
    model, error = ctypes.c_void_p(), _library.Error()
    status = _library.library().es_model_open_memory(data, len(data), 0, ctypes.byref(model), error)
    assert status == 0, error.message
    _library.library().es_model_close(model)


OPENERS = {"C": open_in_c, "Python": parse}


def seconds(opener: str, data: bytes) -> float:
    """CPU time to open it."""
    start = time.process_time()
    OPENERS[opener](data)
    return time.process_time() - start


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("opener", OPENERS)
def test_a_part_of_the_worst_opens_in_its_part_of_the_time(opener, name):
    """What grew with the square of the size would take its part of hours."""
    scale = 0.1

    assert seconds(opener, WORST[name](scale)) < 4 * scale * SECONDS


@pytest.mark.slow(part="hostile")
@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("opener", OPENERS)
def test_the_worst_of_100_mb_opens_in_two_seconds(opener, name):
    data = WORST[name](1.0)

    assert min(seconds(opener, data) for _ in range(3)) < SECONDS

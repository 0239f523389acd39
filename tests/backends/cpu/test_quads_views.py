"""Which shapes of the same elements have the same quads: by hand, on the elements' numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.backends.cpu.kernels.quads_layout import quads_of, same_channels

SHAPES = [
    (1, 8, 3, 5),
    (1, 8, 15),
    (8, 15),
    (15, 8),
    (1, 15, 8),
    (3, 5, 8),
    (1, 3, 5, 8),
    (2, 8, 1, 1),
    (2, 8),
    (2, 4, 2),
]
SHAPES += [(1, 16), (16,), (1, 16, 1, 1), (16, 1), (4, 4), (1, 1, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_view_has_the_words_of_its_source(shape):
    for axis in {1, len(shape) - 1} - ({1} if len(shape) < 3 else set()):
        if axis >= len(shape):
            continue
        elements = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        words = quads_of(elements, axis, flip=False)
        for new in SHAPES:
            if np.prod(new) != np.prod(shape):
                continue
            found = same_channels(shape, axis, new)
            if found is not None:
                np.testing.assert_array_equal(quads_of(elements.reshape(new), found, flip=False), words)


def test_what_keeps_its_channels_is_a_view():
    assert same_channels((128, 384), 1, (1, 128, 384)) == 2
    assert same_channels((1, 8, 3, 5), 1, (1, 8, 15)) == 1
    assert same_channels((1, 8, 1, 1), 1, (1, 8)) == 1
    assert same_channels((2, 8, 1, 1), 1, (2, 8)) is None
    assert same_channels((1, 128, 384), 2, (1, 128, 12, 32)) is None

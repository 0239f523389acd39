"""Pictures made up for a network that nobody has samples for: leaves that hide each other, and noise.

Their colours are scaled to the first layer, which was trained for what the network saw.
Sources: Lee, Mumford and Huang 2001, "Occlusion Models for Natural Images: A Statistical Study of a Scale-Invariant
Dead Leaves Model"; Baradad et al. 2021, "Learning to See by Looking at Noise", arXiv:2106.05963, where networks learn
from both kinds. What first layers have in common was measured on three trained networks: see `SPREAD`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import PruneError
from edgesparse.nodes import shape_of

MOST, LEAST, PIXELS = 192, 32, 2_000_000
"""The most pictures and the fewest; in between, as many as make up this number of pixels."""

SPREAD = 1.5
"""Standard deviation of a first layer's outputs over what is left of its bias at the mean of its inputs.

Of ResNet-20 for CIFAR-10, and of the ResNet-8 and the MobileNet of MLPerf Tiny, it is 1.1 to 1.5.
"""

_SIDE = 8  # pixels of a side
_SHOWN = 32  # pictures that scale the others
_GREY, _COLOUR, _GRAIN = 0.3, 0.12, 0.03  # what leaves differ by: in brightness, in colour, from pixel to pixel
_BRIGHTNESS, _CONTRAST = 115.0, 58.0  # mean and standard deviation of the pixels of ImageNet
_REMEDY = "give a few hundred samples of every input, without labels (--calibration samples.npz)"


def synthetic(normal: ir.Model) -> dict[str, np.ndarray]:
    """Made-up pictures by the name of the input, float32 or uint8 [N, ...].

    Args: normal: the network in its normal form.

    Raises: PruneError: it takes something else than a picture, or floats that no convolution reads first.
    """
    inputs = normal.graph.inputs
    value = inputs[0] if len(inputs) == 1 else None
    if value is not None and value.dtype == ir.DataType.UINT8:
        return {str(value.name): _frames(value)}
    if value is None or value.dtype != ir.DataType.FLOAT:
        raise PruneError(
            f"synthetic samples are pictures, and the model does not take one input of floats or uint8; {_REMEDY}"
        )
    channels_last, layer = _first_layer(value)
    pictures = _like(shape_of(value)[1:], channels_last=channels_last)
    mean, spread = _scale(normal, str(value.name), layer, pictures[:_SHOWN])
    return {str(value.name): (mean + spread * pictures).astype(np.float32)}


def _like(shape: tuple[int, ...], *, channels_last: bool) -> np.ndarray:
    """Pictures [N, *shape]."""
    channels, height, width = (shape[2], *shape[:2]) if channels_last else shape
    count = min(MOST, max(LEAST, PIXELS // (height * width)))
    pictures = _pictures(count, channels, height, width)
    return np.moveaxis(pictures, 1, 3) if channels_last else pictures


def _frames(value: ir.Value) -> np.ndarray:
    """Pixels as of photographs."""
    shape = shape_of(value)
    sizes = shape[1:] if len(shape) == 4 else shape
    channels_last = len(sizes) == 3 and sizes[2] in (1, 3)
    grey = len(sizes) == 2
    sides = sizes if grey else sizes[:2] if channels_last else sizes[1:]
    if not (grey or channels_last or (len(sizes) == 3 and sizes[0] in (1, 3))) or min(sides) < _SIDE:
        raise PruneError(
            f"synthetic samples are pictures, and input {value.name!r} of {list(shape)} is not one; {_REMEDY}"
        )
    pictures = _like((1, *sizes) if grey else sizes, channels_last=channels_last)
    pixels = np.clip(np.rint(_BRIGHTNESS + _CONTRAST * pictures), 0, 255).astype(np.uint8)
    return pixels[:, 0] if grey else pixels


def _first_layer(value: ir.Value) -> tuple[bool, ir.Node]:
    """Whether the channels of the input come last, and the convolution that reads it."""
    shape, readers = shape_of(value), _readers(value)
    moved = readers[0] if len(readers) == 1 and readers[0].op_type == "Transpose" else None
    if moved is not None and tuple(moved.attributes.get_ints("perm", ())) == (0, 3, 1, 2):
        readers = _readers(moved.outputs[0])
    else:
        moved = None
    sides = (shape[1:3] if moved else shape[2:]) if len(shape) == 4 else ()
    if len(sides) != 2 or min(sides) < _SIDE or len(readers) != 1 or readers[0].op_type != "Conv":
        raise PruneError(
            f"synthetic samples are pictures, and input {value.name!r} of {list(shape)} is not read by one "
            f"convolution of them; {_REMEDY}"
        )
    return moved is not None, readers[0]


def _readers(value: ir.Value) -> Sequence[ir.Node]:
    """What reads a value, be it as small integers."""
    readers: Sequence[ir.Node] = value.consumers()
    while len(readers) == 1 and readers[0].op_type in ("QuantizeLinear", "DequantizeLinear"):
        readers = readers[0].outputs[0].consumers()
    return readers


def _scale(normal: ir.Model, name: str, layer: ir.Node, pictures: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of what the first layer was trained for; 0 and 1 where it has no bias.

    The bias makes up for the mean of the inputs, as well as it can for all of its channels at once; the outputs spread
    over somewhat more than what is left of it.
    """
    output = str(layer.outputs[0].name)
    with reference.Session(normal, [output], threads=0) as session:
        outputs = np.stack([session.run({name: picture[None]})[output][0] for picture in pictures])
        black, white = (session.run({name: np.full_like(pictures[:1], level)})[output][0] for level in (0.0, 1.0))
    inside = tuple(size // 2 for size in black.shape[1:])  # where no padding is seen
    bias = black[:, *inside].astype(np.float64)
    gain = white[:, *inside] - bias
    mean = -float(bias @ gain) / float(gain @ gain) if gain.any() else 0.0
    left, apart = _rms(bias + mean * gain), _rms(outputs.std(axis=(0, 2, 3), dtype=np.float64))
    return (mean, SPREAD * left / apart) if left and apart else (mean, 1.0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


@lru_cache(maxsize=1)
def _pictures(count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Leaves and noise in equal parts, float32 [count, channels, height, width] of mean 0 and variance 1."""
    rng = np.random.default_rng(0)
    shape = (count // 2, channels, height, width)
    found = np.concatenate([_standard(_leaves(rng, shape)), _standard(_noise(rng, shape))])
    return found[rng.permutation(len(found))].astype(np.float32)


def _standard(pictures: np.ndarray) -> np.ndarray:
    pictures -= pictures.mean()
    pictures /= pictures.std()
    return pictures


def _leaves(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Discs and rectangles of all sizes, the later ones in front."""
    pictures = np.empty(shape)
    _, channels, height, width = shape
    side = max(height, width)
    for picture in pictures:
        picture[:] = rng.uniform(0.0, 1.0, (channels, 1, 1))
        for _ in range(2 * side):
            radius = 1.5 / (
                rng.uniform() + 3.0 / side
            )  # from a few pixels to half of the picture, the small more often
            tall, wide = radius * rng.uniform(0.3, 1.0, 2)
            y, x = rng.uniform(-4, height + 4), rng.uniform(-4, width + 4)
            is_disc = rng.uniform() < 0.5
            colour = 0.5 + _GREY * rng.standard_normal() + _COLOUR * rng.standard_normal((channels, 1, 1))
            if is_disc:
                tall = wide = radius
            rows, columns = _within(y, tall, height), _within(x, wide, width)
            down, along = np.ogrid[rows, columns]
            inside = (down - y) ** 2 + (along - x) ** 2 < radius**2 if is_disc else np.ones(1, bool)
            grain = _GRAIN * rng.standard_normal((channels, rows.stop - rows.start, columns.stop - columns.start))
            picture[:, rows, columns] = np.where(inside, np.clip(colour, 0.0, 1.0) + grain, picture[:, rows, columns])
    return pictures


def _within(centre: float, reach: float, size: int) -> slice:
    first, last = (int(np.clip(np.ceil(edge), 0, size)) for edge in (centre - reach, centre + reach))
    return slice(first, last)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise whose amplitude falls with the square of its frequency; most of it is the same in all colours."""
    _, _, height, width = shape
    frequency = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width) ** 2
    frequency[0, 0] = frequency[0, 1]

    def smooth(shape: tuple[int, ...]) -> np.ndarray:
        return _standard(np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) / frequency).real)

    grey: np.ndarray = smooth((shape[0], 1, height, width))
    return grey + 0.4 * smooth(shape)

"""A picture from a file, as the frame that an artifact takes. Only this imports Pillow, which is optional."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.errors import MeasureError
from edgesparse.inputs import require_kind, said
from edgesparse.signatures import IMAGE

if TYPE_CHECKING:
    import numpy as np
    from edgesparse_runtime import Tensor

REMEDY = "give a picture such as cat.jpg"
DEEP = ("I", "F")
"""How modes of pictures begin that have more than 8 bits a channel."""


def takes_picture(inputs: Sequence[Tensor], where: str) -> Tensor:
    """The only input that takes pictures.

    Raises: MeasureError: there is none, or several.
    """
    found = [tensor for tensor in inputs if tensor.picture]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(tensor.name for tensor in found)
        raise MeasureError(f"{where}: {len(found)} inputs take pictures ({names}); give their frames as arrays")
    name = inputs[0].name if inputs else "NAME"
    raise MeasureError(f"{where}: takes no picture; compile the model with --preprocess {name}=uint8")


def load_picture(path: Path, tensor: Tensor) -> tuple[np.ndarray, str | None]:
    """The frame in a file of any kind that Pillow reads, turned upright; and what was done to it.

    A picture of another size is scaled until it covers the frame, and cut around its centre.

    Raises: MeasureError: Pillow is not installed, or the file is no picture that it can read.
    """
    import numpy as np

    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ModuleNotFoundError as err:
        raise MeasureError("pictures need Pillow, which is not installed; pip install 'edgesparse[image]'") from err
    require_kind(path, "a picture", MeasureError, IMAGE, remedy=REMEDY)
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as err:
        raise MeasureError(f"{path}: is not a picture that Pillow reads; {REMEDY}") from err
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise MeasureError(f"{path}: cannot be read: {said(err)}; {REMEDY}") from err
    if picture.mode.startswith(DEEP):
        raise MeasureError(f"{path}: has more than 8 bits a channel, expected 8; save it with 8")
    planes = tensor.picture.endswith("planes")
    height, width = tensor.shape[1:] if planes else tensor.shape[:2]
    told = None
    if picture.size != (width, height):
        told = f"{path}: {picture.width}x{picture.height} pixels, scaled and cut to {width}x{height}"
    picture = picture.convert("L" if tensor.picture == "grey" else "RGB")
    if told:
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    pixels = pixels[:, :, ::-1] if tensor.picture.startswith("bgr") else pixels
    return (pixels.transpose(2, 0, 1) if planes else pixels), told

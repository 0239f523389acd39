"""Say what a camera sees: python camera.py model.rpi4.esp

On a Raspberry Pi the frames come from picamera2, elsewhere from OpenCV; --fake makes them up. The artifact takes
frames, and knows its labels:

    edgesparse compile model.onnx --target rpi4 --labels labels.txt \
        --preprocess "image=from=640x480,size=224x224,mean=123.7:116.3:103.5,std=58.4:57.1:57.4"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from edgesparse_runtime import Model, Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the likeliest label of each frame."""
    parser = argparse.ArgumentParser(description="Say what a camera sees.")
    parser.add_argument("artifact")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--fake", action="store_true", help="make frames up")
    options = parser.parse_args(arguments)
    with Model(options.artifact, threads=options.threads) as model:
        image = model.inputs[0]
        if image.picture not in ("rgb", "bgr"):
            sys.exit(f"{options.artifact}: takes no frames; compile the model with --preprocess {image.name}=uint8")
        for frame in islice(fake(image) if options.fake else camera(image), options.frames):
            [(label, score)] = model.top(model.run(frame), 1)
            print(f"{score:8.3f}  {label}", flush=True)


def camera(image: Tensor) -> Iterator[np.ndarray]:
    """Frames of the Raspberry Pi's camera, or of the first camera that OpenCV finds."""
    height, width, _ = image.shape
    try:
        from picamera2 import Picamera2
    except ImportError:
        yield from webcam(image)
        return
    pi = Picamera2()
    order = {"rgb": "BGR888", "bgr": "RGB888"}[image.picture]  # picamera2 names a format by its last byte first
    pi.configure(pi.create_video_configuration({"size": (width, height), "format": order}))
    pi.start()
    while True:
        yield pi.capture_array()


def webcam(image: Tensor) -> Iterator[np.ndarray]:
    """Frames of the first camera that OpenCV finds."""
    try:
        import cv2
    except ImportError:
        sys.exit("no camera: install picamera2 (on a Raspberry Pi) or opencv-python, or give --fake")
    height, width, _ = image.shape
    found = cv2.VideoCapture(0)
    found.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    found.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    while (taken := found.read())[0]:
        frame = taken[1]  # blue first
        yield frame if image.picture == "bgr" else frame[:, :, ::-1]
    sys.exit("no camera gives frames")


def fake(image: Tensor) -> Iterator[np.ndarray]:
    """Frames of noise."""
    rng = np.random.default_rng(0)
    while True:
        yield rng.integers(0, 256, image.shape, np.uint8)


if __name__ == "__main__":
    main()

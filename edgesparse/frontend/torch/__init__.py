"""Bring PyTorch models to ONNX; the only part of the compiler that imports torch."""

from edgesparse.frontend.torch.masks import load_masked
from edgesparse.frontend.torch.source import read

__all__ = ["load_masked", "read"]

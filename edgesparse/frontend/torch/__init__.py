"""Bring PyTorch models to ONNX; the only part of the compiler that imports torch."""

from edgesparse.frontend.torch.find import read
from edgesparse.frontend.torch.kept_zeros import load_masked

__all__ = ["load_masked", "read"]

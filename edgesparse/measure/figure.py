"""A number that says how it was got; on a device, the runtime's package says it alike."""

from edgesparse_runtime import Figure, Origin

__all__ = ["Figure", "Origin"]

"""Choice of kernel and tile for every weighted layer."""

from edgesparse.schedule.choose import plan

__all__ = ["plan"]

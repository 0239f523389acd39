"""What the layers of a model take on a device, beside what was predicted."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.session import Device, where
from edgesparse.devices.targets import Target
from edgesparse.numerics import Element
from edgesparse.pipeline.arguments import Progress
from edgesparse.pipeline.stages import lowered, producer

if TYPE_CHECKING:
    import onnx_ir as ir

SECONDS = 3.0


@dataclass(frozen=True)
class LayerTimes:
    """The time of every layer, by name: the tenth percentile of each of its kernel calls, in microseconds.

    `where` says on what device where that was not this machine, `device` what it said of itself before.
    """

    us: dict[str, float]
    where: str
    device: DeviceFacts | None


def layer_times(
    normal: ir.Model, target: Target, threads: int, device: Device, progress: Progress, dtype: Element | None = None
) -> LayerTimes:
    """Compile a normalised model as `compile` does, and time its layers.

    Raises: EdgesparseError: it cannot be compiled, or runs not on that device.
    """
    from edgesparse import measure
    from edgesparse.package.writer import write

    program, _ = lowered(normal, target, progress, dtype)
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "model.esp"
        write([program], {"producer": producer()}, path)
        progress("measuring")
        with device.open(path, threads) as opened:
            return LayerTimes(measure.times_of_steps_us(opened, SECONDS), where(device, opened), opened.facts)

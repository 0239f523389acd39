"""A target made of what a device says of itself, and of what was measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgesparse.devices import fitting, targets
from edgesparse.devices.cores import CoreKind
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.facts import DeviceFacts
from edgesparse.devices.llvm_cpus import llvm_cpu
from edgesparse.devices.targets import Target
from edgesparse.errors import TargetError
from edgesparse.isa import ISAS

_LLVM_FEATURES = {"dotprod": "+dotprod", "fp16": "+fullfp16"}
"""What a core of aarch64 may have beyond what the nearest target needs."""


@dataclass(frozen=True)
class Description:
    """A target, and what was not asked of its device: fields of `Cpu`, each with the target that it was taken from."""

    target: Target
    assumed: Mapping[str, str]


def described(name: str, told: DeviceFacts, kind: CoreKind, cores: int, device: str, today: str) -> Description:
    """The target of some cores of a device.

    Args:
        kind: of the cores.
        cores: how many.
        device: what messages call it.

    Raises: TargetError: it runs no code of any target, or what it says cannot be.
    """
    base = _nearest(told, kind, device)
    same_core = base.cpu.midr is not None and base.cpu.midr == kind.midr
    sizes = {
        "l1d_bytes": kind.caches.l1d_bytes,
        "l2_bytes": kind.caches.l2_bytes or kind.caches.l3_bytes,  # some cores have none of their own
    }
    assumed = {field: base.name for field, size in sizes.items() if size is None}
    requires, features = _features(told, base.cpu)
    assumed |= {"requires": base.name} if told.features is None else {}
    llvm_name = base.cpu.llvm_name if same_core else llvm_cpu(base.cpu.isa, kind.midr, requires)
    if llvm_name is None and base.cpu.isa != "x86_64":  # whose names are levels: features
        assumed["llvm_name"] = base.name
    assumed |= {"core": base.name} if same_core and base.cpu.core else {}
    cpu = replace(
        base.cpu,
        l1d_bytes=sizes["l1d_bytes"] or base.cpu.l1d_bytes,
        l2_bytes=sizes["l2_bytes"] or base.cpu.l2_bytes,
        l3_bytes=kind.caches.l3_bytes if kind.caches.l2_bytes else None,
        requires=requires,
        features=features,
        llvm_name=llvm_name or base.cpu.llvm_name,
        cores=cores,
        clock_hz=kind.clocks_hz[1] if kind.clocks_hz else kind.top_hz,
        midr=kind.midr if base.cpu.isa == "aarch64" else None,
        core=base.cpu.core if same_core else None,
        bandwidth_bytes_per_s=None,
    )
    summary = ", ".join(filter(None, (told.model, f"{cores} x {kind.name}")))
    source = f"reported by {device} on {today}"
    if sized := [field for field in sizes if field in assumed]:
        which = "caches" if len(sized) == len(sizes) else f"{sized[0].removesuffix('_bytes')} cache"
        source += f"; {which} assumed as in {base.name}"
    made = Target(name=name, source=source, cpu=cpu, summary=summary)
    return Description(targets.checked(made, device), assumed)


def with_bandwidth(found: Description, all_cores: int, one_core: int, device: str) -> Description:
    """The same with what was measured of its main memory, in bytes a second.

    Raises: TargetError: that cannot be.
    """
    target = found.target
    cpu = replace(target.cpu, bandwidth_bytes_per_s=all_cores, core_bandwidth_bytes_per_s=one_core)
    source = f"{target.source}; bandwidth of the memory measured there by edgesparse"
    return replace(found, target=targets.checked(replace(target, cpu=cpu, source=source), device))


def _nearest(told: DeviceFacts, kind: CoreKind, device: str) -> Target:
    """The built-in target with the same core; else the first that names none, whose code the device runs."""
    if told.isa is None:
        raise TargetError(f"{device}: is a {told.machine or 'machine without a name'}, expected {', '.join(ISAS)}")
    suited = fitting.suited(told)
    alike = [target for target in suited if target.cpu.midr == kind.midr] if kind.midr is not None else []
    for target in (*alike, *(target for target in suited if target.cpu.midr is None)):
        return target
    least = min(
        (target for name in targets.names() if (target := targets.load(name)).cpu.isa == told.isa),
        key=lambda target: len(target.cpu.requires),
    )
    missing = ", ".join(sorted(set(least.cpu.requires) - set(told.features or ())))
    raise TargetError(f"{device}: lacks {missing}, which code for {told.isa} needs")


def _features(told: DeviceFacts, base: Cpu) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What artifacts state, and what LLVM is told."""
    has = told.features or ()
    more = [name for name in _LLVM_FEATURES if base.isa == "aarch64" and name in has and name not in base.requires]
    return (*base.requires, *more), (*base.features, *(_LLVM_FEATURES[name] for name in more))

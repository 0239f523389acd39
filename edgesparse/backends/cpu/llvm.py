"""Which CPUs and features LLVM knows: of an unknown name it would only warn, and generate code for another CPU."""

from __future__ import annotations

import difflib
from functools import cache

import tvm

from edgesparse.devices.targets import Target
from edgesparse.errors import TargetError


def require_known(target: Target) -> None:
    """Check that LLVM knows the CPU and the features of a target.

    Raises: TargetError: it does not; with near names.
    """
    where, cpu = f"target {target.name!r}", target.cpu
    cpus = _cpus(cpu.triple)
    if cpu.llvm_name not in cpus:
        raise TargetError(f"{where}: codegen.cpu: LLVM does not know {cpu.llvm_name!r}{_near(cpu.llvm_name, cpus)}")
    features = _features(cpu.triple)
    for feature in cpu.features:
        if feature[1:] not in features:
            raise TargetError(
                f"{where}: codegen.features: LLVM does not know {feature!r}{_near(feature[1:], features)}"
            )


@cache
def _cpus(triple: str) -> tuple[str, ...]:
    bare = tvm.target.Target({"kind": "llvm", "mtriple": triple})
    return tuple(map(str, tvm.get_global_func("target.llvm_get_cpu_archlist")(bare)))


@cache
def _features(triple: str) -> frozenset[str]:
    """Every feature that some CPU of the architecture has."""
    of = tvm.get_global_func("target.llvm_get_cpu_features")
    cpus = (tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": cpu}) for cpu in _cpus(triple))
    return frozenset(str(feature) for cpu in cpus for feature in of(cpu))


@cache
def fuses(target: tvm.target.Target) -> bool:
    """Whether the processor multiplies and adds in one instruction."""
    features = {str(feature) for feature in tvm.get_global_func("target.llvm_get_cpu_features")(target)}
    return not features.isdisjoint({"fma", "vfp4", "fp-armv8"})


def _near(word: str, known: tuple[str, ...] | frozenset[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
    return f"; similar are {', '.join(near)}" if near else f"; known are {', '.join(sorted(known)[:10])}, ..."

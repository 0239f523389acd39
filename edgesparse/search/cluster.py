"""The sensitivity sweep over a Ray cluster; edgesparse must be installed on every node of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.errors import SearchError
from edgesparse.search.sensitivity import Feeds, Job, Outcome, OutputLoss, Sweep


class Worker:
    """An actor with the network and the samples; one thread of ONNX Runtime."""

    def __init__(self, model: bytes, tensors: Sequence[str], samples: Sequence[Feeds]) -> None:
        import onnx

        self._loss = OutputLoss(ir.from_proto(onnx.load_from_string(model)), tensors, samples, threads=1)

    def run(self, tensor: str, level: int, array: np.ndarray) -> Outcome:
        """The loss with this tensor alone pruned."""
        return tensor, level, self._loss({tensor: array})


def over_ray(address: str, model: ir.Model, tensors: Sequence[str], samples: Sequence[Feeds]) -> Sweep:
    """Jobs spread over the CPUs of a cluster, a worker each.

    Args:
        address: as for `ray.init`; "auto" for the cluster that runs on this machine.

    The sweep raises: SearchError: Ray is not installed, no cluster answers there, or a worker fails.
    """

    def sweep(jobs: Iterable[Job]) -> Iterator[Outcome]:
        with _connected(address) as ray:
            actor = ray.remote(num_cpus=1)(Worker)
            shared = [ray.put(value) for value in (ir.to_proto(model).SerializeToString(), tuple(tensors), samples)]
            workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
            pool = ray.util.ActorPool([actor.remote(*shared) for _ in range(workers)])
            try:
                yield from pool.map_unordered(lambda worker, job: worker.run.remote(*job), list(jobs))
            except ray.exceptions.RayError as err:
                reason = str(err).strip().splitlines()[-1]
                raise SearchError(f"--ray {address}: a worker failed: {reason}; what is known is kept") from err

    return sweep


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import ray
        import ray.util
    except ImportError as err:
        raise SearchError("ray is not installed; remedy: pip install 'edgesparse[ray]'") from err
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as err:
        reason = str(err).strip().splitlines()[0]
        raise SearchError(f"--ray {address}: no cluster answers there: {reason}; remedy: ray start --head") from err
    try:
        yield ray
    finally:
        ray.shutdown()

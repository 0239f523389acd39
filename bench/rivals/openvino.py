"""OpenVINO on the CPU for the latency of one stream; f32 stays f32, where it would use bf16 if the CPU has it."""

from __future__ import annotations

from collections import Counter
from typing import Any

PACKAGES = ("openvino",)


def load(model: str, threads: int, inputs: dict[str, Any]) -> Network:
    """Compile an ONNX file."""
    return Network(model, threads, inputs)


def notes(network: Network) -> dict[str, Any]:
    """Its convolutions and matmuls, counted by the precision that they run in."""
    return {"precisions": network.precisions}


class Network:
    """A compiled model."""

    def __init__(self, model: str, threads: int, inputs: dict[str, Any]) -> None:
        import openvino as ov

        core = ov.Core()
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        read = core.read_model(model)
        read.reshape({name: array.shape for name, array in inputs.items()})
        compiled = core.compile_model(read, "CPU", config)
        self._request = compiled.create_infer_request()
        self._inputs = inputs
        self._names = {port: port.get_any_name() for port in compiled.outputs}
        ops = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
        heavy = [op for op in ops if str(op["layerType"].astype(str)) in ("Convolution", "FullyConnected", "MatMul")]
        self.precisions = Counter(str(op["runtimePrecision"].astype(str)) for op in heavy)

    def __call__(self) -> dict[str, Any]:
        """Run once."""
        results = self._request.infer(self._inputs, share_inputs=True)
        return {name: results[port] for port, name in self._names.items()}

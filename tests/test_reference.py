"""ONNX Runtime in a process of its own: what it computes, and what its crashes and hangs become."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError
from tests.frontend.graphs import floats, model

ROOT = Path(__file__).parents[1]
TWO_STEPS = "g (float[2, 3] x) => (float[2, 3] y) { h = Neg (x) y = Add (h, w) }"
ENDLESS = """g (float[3] x, int64 trips) => (float[3] y) {
    y = Loop (trips, yes, x) <body = b (int64 i, bool go, float[3] s) => (bool on, float[3] t) {
        on = Identity (go) t = Sin (s)
    }>
}"""
FOREVER = {"x": floats(3), "trips": np.array(1 << 60)}


def endless():
    return model(ENDLESS, yes=np.array(True))


def once_busy(pid: int, action, *arguments) -> None:
    """Do `action` as soon as process `pid` computes."""

    def seconds() -> float:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait() -> None:
        while seconds() < idle + 0.1:
            time.sleep(0.02)
        action(*arguments)

    idle = seconds()
    threading.Thread(target=wait, daemon=True).start()


def test_outputs_come_by_name():
    x, w = floats(2, 3), floats(2, 3, seed=1)

    outputs = reference.evaluate(model(TWO_STEPS, w=w), {"x": x})

    np.testing.assert_array_equal(outputs["y"], -x + w)


def test_any_value_can_be_asked_for_and_nothing_else_is_computed():
    """The bad operator is not opened, because the value does not need it."""
    text = "g (float[2, 3] x) => (float[2, 3] y) { h = Neg (x) y = nobody.Knows (h) }"
    source = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20, "nobody" : 1]>{text}')

    assert list(reference.evaluate(source, {"x": floats(2, 3)}, ["h"])) == ["h"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7, 8, 9)])
def test_arrays_arrive_as_they_were(dtype, shape):
    kind = {"float16": "float16", "float64": "double", "uint8": "uint8", "bool": "bool", "int64": "int64"}
    sizes = ", ".join(map(str, shape))
    declared = f"{kind[np.dtype(dtype).name]}[{sizes}]" if shape else kind[np.dtype(dtype).name]
    x = np.asarray(floats(*shape) * 3).astype(dtype)

    outputs = reference.evaluate(model(f"g ({declared} x) => ({declared} y) {{ y = Identity (x) }}"), {"x": x})

    assert outputs["y"].dtype == dtype
    np.testing.assert_array_equal(outputs["y"], x)


def test_a_model_with_large_weights_is_handed_over_in_files(monkeypatch):
    monkeypatch.setattr(reference, "INLINE_BYTES", 8)
    w = floats(2, 3, seed=1)

    outputs = reference.evaluate(model(TWO_STEPS, w=w), {"x": np.zeros((2, 3), np.float32)})

    np.testing.assert_array_equal(outputs["y"], w)


def test_a_model_whose_weights_lie_beside_it_is_read_where_it_is(tmp_path):
    import onnx_ir as ir

    w = floats(2, 3, seed=1)
    ir.save(model(TWO_STEPS, w=w), tmp_path / "m.onnx", external_data="w.bin")
    x = np.zeros((2, 3), np.float32)

    for source in (tmp_path / "m.onnx", ir.load(tmp_path / "m.onnx")):
        np.testing.assert_array_equal(reference.evaluate(source, {"x": x})["y"], w)


def test_what_cannot_be_opened_or_run_is_said_in_one_line(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")

    with pytest.raises(OnnxRuntimeError, match=r"^ONNX Runtime cannot open .*bad.onnx: [^\n]*$"):
        reference.Session(tmp_path / "bad.onnx")
    with pytest.raises(OnnxRuntimeError, match=r"^ONNX Runtime cannot run the model: [^\n]*$"):
        reference.evaluate(model(TWO_STEPS, w=floats(2, 3)), {"x": floats(4)})


def test_a_hang_ends_with_an_error():
    with pytest.raises(OnnxRuntimeError, match=r"cannot run the model: no answer within 0.5 s"):
        reference.evaluate(endless(), FOREVER, limit_s=0.5)


def test_a_crash_is_an_error_and_other_sessions_live_on():
    x, w = floats(2, 3), floats(2, 3, seed=1)
    survivor = reference.Session(model(TWO_STEPS, w=w))
    victim = reference.Session(endless())
    pid = reference.process_id()
    once_busy(pid, os.kill, pid, signal.SIGSEGV)

    with pytest.raises(OnnxRuntimeError, match=r"cannot run the model: it crashed \(SIGSEGV\)"):
        victim.run(FOREVER)

    np.testing.assert_array_equal(survivor.run({"x": x})["y"], -x + w)


def test_threads_take_turns():
    session = reference.Session(model(TWO_STEPS, w=np.zeros((2, 3), np.float32)))
    results: dict[int, np.ndarray] = {}

    def run(seed: int) -> None:
        for _ in range(20):
            results[seed] = session.run({"x": floats(2, 3, seed=seed)})["y"]

    threads = [threading.Thread(target=run, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed, array in results.items():
        np.testing.assert_array_equal(array, -floats(2, 3, seed=seed))


def test_a_fork_starts_a_process_of_its_own():
    x, w = floats(2, 3), floats(2, 3, seed=1)
    session = reference.Session(model(TWO_STEPS, w=w))
    ours = reference.process_id()
    child = os.fork()
    if child == 0:
        good = np.array_equal(session.run({"x": x})["y"], -x + w) and reference.process_id() != ours
        reference.stop()
        os._exit(0 if good else 1)

    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(session.run({"x": x})["y"], -x + w)
    assert reference.process_id() == ours


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_process_ends_with_its_parent(how):
    """In the middle of an endless inference too."""
    code = """
import threading
from edgesparse import reference
from tests.test_reference import endless, FOREVER
session = reference.Session(endless())
print(reference.process_id(), flush=True)
session.run(FOREVER)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.2)

    parent.send_signal(how)
    parent.wait()
    parent.stdout.close()

    assert _ends(pid), "ONNX Runtime's process outlived its parent"


def test_an_interrupt_leaves_no_half_sent_answer():
    session = reference.Session(endless())
    quick = reference.Session(model(TWO_STEPS, w=np.zeros((2, 3), np.float32)))
    once_busy(reference.process_id(), os.kill, os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        session.run(FOREVER)

    np.testing.assert_array_equal(quick.run({"x": floats(2, 3)})["y"], -floats(2, 3))


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_inference_of_shapes_that_takes_too_much_memory_ends_alone():
    """onnx writes out the numbers that a Range counts; here 10 billion."""
    numbers = {"zero": np.array(0), "end": np.array(10**10), "one": np.array(1)}
    source = model("g () => (y) { r = Range (zero, end, one) y = Cast <to = 1> (r) }", **numbers)

    with pytest.raises(OnnxRuntimeError, match="cannot infer shapes: "):
        reference.infer_shapes(onnx_ir.to_proto(source))

    assert reference.evaluate(model(TWO_STEPS, w=floats(2, 3)), {"x": floats(2, 3)})

"""The digits classifier: learns, stays accurate when pruned, and keeps its zeros while it is fine-tuned."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesparse.frontend import read
from edgesparse.prune import prune
from tests.models import ort_run

digits = pytest.importorskip("models.digits", reason="needs models/")
pytest.importorskip("sklearn", reason="needs scikit-learn")


def test_gradients_match_finite_differences():
    images, labels, _, _ = digits.load_data()
    images, labels, params = images[:4], labels[:4], digits.initial()

    def loss():
        scores = digits.forward(params, images)[0].astype(np.float64)
        return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(4), labels])

    for name, array in params.items():
        if name.endswith("bias"):  # away from the kink of relu, where blank pixels would sit
            array += 0.1
    for name, gradient in digits.gradients(params, images, labels).items():
        at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        kept, losses = params[name][at], []
        for step in (4e-3, -4e-3):
            params[name][at] = kept + step
            losses.append(loss())
        params[name][at] = kept
        assert gradient[at] == pytest.approx((losses[0] - losses[1]) / 8e-3, rel=0.1), name


@pytest.mark.slow(part="zoo")
def test_digits_stay_accurate_at_a_tenth_of_the_weights(tmp_path):
    dense = digits.write(tmp_path)
    pruned = prune(read(tmp_path / "digits.onnx"), 0.1, allocation="erk")
    ir.save(pruned.model, tmp_path / "pruned.onnx")

    sparse = digits.finetune(tmp_path / "pruned.onnx", tmp_path / "tuned.onnx")

    assert dense >= 0.97
    assert sparse >= 0.96
    zeros, tuned = (digits.from_onnx(onnx.load(tmp_path / name)) for name in ("pruned.onnx", "tuned.onnx"))
    assert all((tuned[name][array == 0] == 0).all() for name, array in zeros.items() if name.endswith("weight"))
    heldout = np.load(tmp_path / "heldout.npz")
    scores = ort_run(tmp_path / "tuned.onnx", {"image": heldout["image"][:1]})[0]
    np.testing.assert_allclose(scores, digits.forward(tuned, heldout["image"][:1])[0], rtol=1e-3, atol=1e-4)

"""Distillation against the divergence written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

from edgesparse.torch import distillation_loss  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


def softmax(x):
    exps = np.exp(x - x.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_the_divergence_times_temperature_squared(temperature):
    student, teacher = np.random.default_rng(0).standard_normal((2, 5, 7)) * 3

    loss = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature=temperature)

    p, q = softmax(teacher / temperature), softmax(student / temperature)
    assert float(loss) == pytest.approx((p * np.log(p / q)).sum() / 5 * temperature**2)


def test_the_same_distribution_costs_nothing():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))

    assert float(distillation_loss(logits, logits + 1.0)) == pytest.approx(0, abs=1e-6)

"""The sweep over a Ray cluster, against the same sweep here."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgesparse.errors import SearchError
from edgesparse.search import prepare
from edgesparse.search.cluster import over_ray
from tests.search.models import LAYERS, SAMPLES, network, setting


@pytest.fixture(scope="module")
def two_workers():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield "auto"
    ray.shutdown()


@pytest.mark.slow(part="zoo")
def test_two_workers_find_the_losses_that_one_process_finds(two_workers, tmp_path):
    (tmp_path / "ray").mkdir()

    shared = prepare(setting(tmp_path / "ray", ray=two_workers))
    alone = prepare(setting(tmp_path))

    np.testing.assert_allclose(shared.losses, alone.losses, rtol=1e-4)
    assert len(shared.setting.state.all("losses")) == shared.losses[:, 1:].size


@pytest.mark.slow(part="zoo")
def test_a_worker_that_fails_is_said(two_workers):
    sweep = over_ray(two_workers, network(), tuple(LAYERS.values()), SAMPLES)

    with pytest.raises(SearchError, match=r"--ray auto: a worker failed: .*; what is known is kept"):
        list(sweep([("wide_weight", 1, np.zeros((1, 1), np.float32))]))


@pytest.mark.slow(part="zoo")
def test_an_address_where_nothing_answers_is_named():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.shutdown()

    with pytest.raises(SearchError, match=r"--ray auto: no cluster answers there"):
        list(over_ray("auto", network(), (), SAMPLES)([]))


def test_ray_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(SearchError, match=r"ray is not installed; remedy: pip install 'edgesparse\[ray\]'"):
        list(over_ray("auto", network(), (), SAMPLES)([]))

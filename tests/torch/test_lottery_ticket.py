"""The example on lottery tickets, with tiny settings."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
pytest.importorskip("sklearn", reason="scikit-learn is not installed; the extra demo has it")
pytest.importorskip("matplotlib", reason="matplotlib is not installed; the extra bench has it")

from examples import lottery_ticket  # noqa: E402
from examples.lottery_ticket import Images, Point, Settings, tickets, winning  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

TINY = Settings(rounds=2, keep=0.5, steps=12, rewind=4, batch=8, seeds=1)


def blobs():
    """Two classes that lie apart."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (40,), generator=generator)
    x = torch.randn((40, 6), generator=generator) + 4 * y[:, None]
    return Images(x, y, x, y)


@pytest.mark.parametrize("rewind", [0, 4])
def test_tickets_train_on_from_the_step_that_weights_are_rewound_to(rewind):
    """The dense network is the one that plain training of all steps gives, whatever the step of rewinding."""
    images = blobs()
    plain = lottery_ticket.perceptron(6, seed=0)
    order = np.random.default_rng(0)
    order = np.concatenate([order.permutation(40) for _ in range(3)]).reshape(-1, 8)
    for steps in (order[:rewind], order[rewind:12]):
        optimizer = torch.optim.Adam(plain.parameters(), lottery_ticket.RATE)
        for chosen in steps:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(images.x[chosen]), images.y[chosen]).backward()
            optimizer.step()

    dense = next(tickets(images, TINY, 0, rewind=rewind))

    for trained, expected in zip(dense.module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=0, atol=0)


def test_the_winning_density_is_the_lowest_that_does_as_well_as_dense_on_average():
    found = [
        Point("a", seed, density, accuracy)
        for density, accuracies in ((1.0, (0.9, 0.8)), (0.5, (0.9, 0.7)), (0.25, (0.95, 0.8)), (0.1, (0.7, 0.9)))
        for seed, accuracy in enumerate(accuracies)
    ]

    assert winning(found, "a") == 0.25


def test_images_of_a_file_are_split_without_overlap(tmp_path):
    pixels = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2)
    np.savez(tmp_path / "data.npz", x=pixels, y=np.arange(20, dtype=np.uint8) % 10)

    images = lottery_ticket.load(tmp_path / "data.npz")

    assert (len(images.x), len(images.heldout_x)) == (16, 4)
    both = np.concatenate([images.x.numpy(), images.heldout_x.numpy()]) * 79
    np.testing.assert_allclose(both[both[:, 0].argsort()], pixels.reshape(20, 4), rtol=1e-6)
    assert images.x.dtype == torch.float32 and images.y.dtype == torch.int64


def test_the_example_writes_every_density_and_verifies_its_tickets(tmp_path, capsys):
    lottery_ticket.main(["--rounds", "2", "--steps", "12", "--rewind", "4", "--seeds", "1", "-o", str(tmp_path)])

    result = json.loads((tmp_path / "lottery-ticket.json").read_text())
    assert len(result["points"]) == 9
    assert [row["ticket_density"] for row in result["deployed"]] == pytest.approx([1, 0.8, 0.64], abs=1e-4)
    assert all(row["agrees"] for row in result["deployed"])
    assert (tmp_path / "lottery-ticket.md").read_text() == capsys.readouterr().out[:-1]
    assert (tmp_path / "lottery-ticket.svg").stat().st_size > 1000

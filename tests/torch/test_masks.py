"""Masks: the right weights go, exact zeros stay, and checkpoints, copies and exports need to know nothing."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.torch import Masks  # noqa: E402
from tests.torch.modules import PRUNABLE, convnet, perceptron, train, zeros  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

IMAGE = (3, 8, 8)
SIZES = {"2.weight": 16 * 8 * 9, "5.weight": 16 * 16, "8.weight": 8 * 16}
OPTIMIZERS = {
    "sgd": lambda module: torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda module: torch.optim.Adam(module.parameters(), 0.01, weight_decay=0.1),
    "adamw": lambda module: torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.1),
}


def test_masks_show_what_is_left_of_which_weights():
    masks = Masks(perceptron())
    masks.prune(0.5)

    assert all(f"{name} " in str(masks) for name in masks)
    assert f"density {masks.density:.3f} of the prunable weights" in masks._repr_html_()


def test_uniform_pruning_masks_what_torch_masks():
    judge, masks = convnet(), Masks(convnet())

    masks.prune(0.25)

    for at in (2, 5, 8):
        torch_prune.l1_unstructured(judge[at], "weight", amount=0.75)
        np.testing.assert_array_equal(masks[f"{at}.weight"], judge[at].weight_mask.bool())


def test_global_pruning_masks_what_torch_masks():
    judge, masks = convnet(), Masks(convnet())

    masks.prune(0.1, allocation="global")

    layers = [(judge[at], "weight") for at in (2, 5, 8)]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.9)
    for at in (2, 5, 8):
        np.testing.assert_array_equal(masks[f"{at}.weight"], judge[at].weight_mask.bool())


def test_erk_keeps_the_counts_of_the_paper():
    """Density of a layer is proportional to the sum of its dimensions over their product."""
    masks = Masks(convnet())

    masks.prune(0.2, allocation="erk")

    dimensions = {"2.weight": 16 + 8 + 3 + 3, "5.weight": 16 + 16 + 1 + 1, "8.weight": 8 + 16}
    for name, dimension in dimensions.items():
        expected = round(0.2 * sum(SIZES.values())) * dimension / sum(dimensions.values())
        assert int(masks[name].sum()) == pytest.approx(expected, abs=1)
    assert sum(int(masks[name].sum()) for name in masks) == round(0.2 * sum(SIZES.values()))


def test_lamp_keeps_what_scores_most_by_hand():
    module = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False))
    module[0].weight.data = torch.tensor([[0.1], [0.09], [0.01]])  # scores 1, 81/181, 1/182
    module[1].weight.data = torch.tensor([[3.0, -2.0, 1.0]])  # scores 1, 4/13, 1/14
    masks = Masks(module)

    masks.prune(0.5, allocation="lamp")

    np.testing.assert_array_equal(masks["0.weight"], [[True], [True], [False]])
    np.testing.assert_array_equal(masks["1.weight"], [[True, False, False]])


def test_two_of_four_is_held_along_input_channels():
    module = convnet()
    masks = Masks(module, pattern="2:4")

    masks.prune()

    groups = np.abs(module[2].weight.detach().numpy()).reshape(16, 2, 4, 3, 3)
    before = np.abs(convnet()[2].weight.detach().numpy()).reshape(16, 2, 4, 3, 3)
    assert (np.count_nonzero(groups, axis=2) == 2).all()
    np.testing.assert_array_equal(np.sort(groups, axis=2)[:, :, 2:], np.sort(before, axis=2)[:, :, 2:])


def test_blocks_go_together():
    masks = Masks(convnet(), pattern="4x1")

    masks.prune(0.25)

    for name in PRUNABLE:
        units = masks[name].flatten(1).numpy().reshape(len(masks[name]) // 4, 4, -1)
        assert (units.all(axis=1) == units.any(axis=1)).all()
        assert units.mean() == 0.25


def test_given_scores_decide():
    masks = Masks(convnet())

    masks.prune(0.5, scores={name: 1.0 / masks.parameter(name).abs() for name in masks})

    weight = convnet()[2].weight.detach().abs()
    assert weight[masks["2.weight"]].max() < weight[~masks["2.weight"]].min()


def test_masked_weights_never_come_back():
    masks = Masks(convnet())
    masks.prune(0.3, allocation="global")
    before = masks.state_dict()
    for name in masks:
        masks.parameter(name).data[~masks[name]] = 9.0

    masks.prune(0.1, allocation="global")

    assert all(not (masks[name] & ~before[name]).any() for name in masks)
    assert sum(int(masks[name].sum()) for name in masks) == round(0.1 * sum(SIZES.values()))


def test_random_masks_are_exact_and_follow_their_seed():
    masks, same, other = Masks(convnet()), Masks(convnet()), Masks(convnet())

    masks.randomize(0.1, seed=1)
    same.randomize(0.1, seed=1)
    other.randomize(0.1, seed=2)

    assert sum(int(masks[name].sum()) for name in masks) == round(0.1 * sum(SIZES.values()))
    assert all(torch.equal(masks[name], same[name]) for name in masks)
    assert not torch.equal(masks["2.weight"], other["2.weight"])


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_zeros_survive_momentum_and_weight_decay(optimizer):
    module = convnet()
    trainer = OPTIMIZERS[optimizer](module)
    train(module, trainer, 3, IMAGE)  # so that momentum is there already
    masks = Masks(module)
    masks.prune(0.2)

    masks.hold(trainer)
    train(module, trainer, 20, IMAGE, seed=1)

    for name in PRUNABLE:
        assert torch.equal(zeros(module, name), ~masks[name])
        assert not torch.signbit(module.get_parameter(name).detach()[~masks[name]]).any()


def test_what_is_kept_trains_as_if_masks_were_multiplied():
    """Holding zeros equals torch's own masks, which multiply in the forward pass."""
    module, judge = perceptron(), perceptron()
    masks = Masks(module)
    masks.prune(0.3)
    for at in (0, 2):
        torch_prune.custom_from_mask(judge[at], "weight", masks[f"{at}.weight"])
    optimizer = OPTIMIZERS["sgd"](module)
    masks.hold(optimizer)

    train(module, optimizer, 10, (12,))
    train(judge, OPTIMIZERS["sgd"](judge), 10, (12,))

    for at in (0, 2):
        expected = (judge[at].weight_orig * masks[f"{at}.weight"]).detach()
        np.testing.assert_allclose(module[at].weight.detach(), expected, rtol=1e-4, atol=1e-6)


def test_momentum_does_not_gather_where_weights_are_zero():
    module = perceptron()
    masks = Masks(module)
    masks.prune(0.2)
    optimizer = OPTIMIZERS["sgd"](module)
    masks.hold(optimizer)

    train(module, optimizer, 2, (12,))

    momentum = optimizer.state[module[0].weight]["momentum_buffer"]
    assert momentum[masks["0.weight"]].any() and not momentum[~masks["0.weight"]].any()


def test_released_zeros_move_again():
    module = perceptron()
    masks = Masks(module)
    masks.prune(0.2)
    optimizer = OPTIMIZERS["sgd"](module)
    release = masks.hold(optimizer)

    release()
    train(module, optimizer, 4, (12,))

    assert int(zeros(module, "2.weight").sum()) < int((~masks["2.weight"]).sum())


def test_training_goes_on_from_a_checkpoint_as_without_one(tmp_path):
    module = convnet()
    masks = Masks(module)
    masks.prune(0.2)
    optimizer = OPTIMIZERS["sgd"](module)
    masks.hold(optimizer)
    train(module, optimizer, 3, IMAGE)
    parts = {"module": module, "masks": masks, "optimizer": optimizer}
    torch.save({name: part.state_dict() for name, part in parts.items()}, tmp_path / "state.pt")

    resumed = convnet(seed=9)
    again, trainer = Masks(resumed), OPTIMIZERS["sgd"](resumed)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for name, part in {"module": resumed, "masks": again, "optimizer": trainer}.items():
        part.load_state_dict(state[name])
    again.hold(trainer)
    train(module, optimizer, 3, IMAGE, seed=1)
    train(resumed, trainer, 3, IMAGE, seed=1)

    for name, value in module.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_copy_is_independent_and_keeps_its_zeros():
    module = perceptron()
    masks = Masks(module)
    masks.prune(0.2)
    before = copy.deepcopy(module.state_dict())

    copied, copied_masks = copy.deepcopy((module, masks))
    optimizer = OPTIMIZERS["sgd"](copied)
    copied_masks.hold(optimizer)
    train(copied, optimizer, 4, (12,))

    assert torch.equal(zeros(copied, "0.weight"), ~masks["0.weight"])
    assert not torch.equal(copied[0].weight, module[0].weight)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_masks_are_read_off_the_zeros():
    module = convnet()
    masks = Masks(module)
    masks.prune(0.3)

    found = Masks.from_zeros(copy.deepcopy(module))

    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_exported_model_has_exact_zeros(tmp_path):
    module = convnet()
    masks = Masks(module)
    masks.prune(0.2)
    optimizer = OPTIMIZERS["sgd"](module)
    masks.hold(optimizer)
    train(module, optimizer, 3, IMAGE)

    program = torch.export.export(module.eval(), (torch.zeros(1, *IMAGE),))
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(str(path))

    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name in PRUNABLE:
        assert torch.equal(program.state_dict[name].detach() == 0, ~masks[name])
        assert np.count_nonzero(stored[name]) == int(masks[name].sum())


def test_narrow_floats_are_pruned():
    module = perceptron().to(torch.bfloat16)
    masks = Masks(module)

    masks.prune(0.25)

    assert int(masks["0.weight"].sum()) == 48 and module[0].weight.dtype == torch.bfloat16


def test_masks_follow_their_module_to_another_device():
    masks = Masks(perceptron())
    masks.prune(0.5)

    masks.module.to("meta")

    assert masks["0.weight"].device.type == "meta"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "four"}, "pattern 'four' is unknown"),
        ({"pattern": "5x1"}, "no layer can be pruned: .*2.weight: pattern 5x1 needs output channels in multiples of 5"),
        ({"skip": ["*"]}, "no layer can be pruned: .*8.weight: skipped by name"),
    ],
)
def test_masks_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PruneError, match=message):
        Masks(convnet(), **options)


def test_a_module_without_weights_is_refused():
    with pytest.raises(PruneError, match="no convolution or linear layer"):
        Masks(nn.ReLU())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density must be above 0 and at most 1"),
        ({"density": None}, "pattern 1x1 does not say how many weights stay"),
        ({"density": 0.5, "allocation": "fair"}, "allocation 'fair' is unknown; expected one of erk, global"),
        ({"density": 0.5, "scores": {}}, r"scores of 2.weight: got none; expected a tensor of shape \[16, 8, 3, 3\]"),
        ({"density": 0.5, "scores": {"2.weight": torch.zeros(2)}}, r"scores of 2.weight: got shape \[2\]"),
        ({"density": 0.5, "scores": {"2.weight": -torch.ones(16, 8, 3, 3)}}, "scores of 2.weight: some are negative"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PruneError, match=message):
        Masks(convnet()).prune(**options)


def test_an_optimizer_of_another_module_is_refused():
    masks = Masks(perceptron())

    with pytest.raises(PruneError, match="the optimizer trains none of the masked weights"):
        masks.hold(OPTIMIZERS["sgd"](perceptron()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.weight"), "there is none for 0.weight"),
        (lambda state: state.update(other=torch.ones(1)), "other has none"),
        (
            lambda state: state.update({"0.weight": torch.ones(2)}),
            r"mask of 0.weight: got torch.float32 of shape \[2\]",
        ),
    ],
)
def test_masks_of_another_module_are_refused(change, message):
    masks = Masks(perceptron())
    state = masks.state_dict()
    change(state)

    with pytest.raises(PruneError, match=message):
        masks.load_state_dict(state)

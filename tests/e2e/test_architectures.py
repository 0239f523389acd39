"""Architectures of transformers, small, of random weights and odd shapes: artifacts compute what the modules do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra zoo has it")
pytest.importorskip("transformers", reason="transformers is not installed; the extra zoo has it")

import edgesparse  # noqa: E402
from models import zoo  # noqa: E402
from tests.e2e.flow import esrun  # noqa: E402

REL_TOLERANCE = 1e-4
VOCABULARY = 50


@dataclass(frozen=True)
class Architecture:
    """A module, and the shapes of what `forward` takes."""

    build: Callable[[], Any]
    inputs: Mapping[str, tuple[int, ...]]

    def module(self) -> Any:
        """The module with seeded random weights."""
        torch.manual_seed(zoo.SEED)
        module = self.build().eval()
        zoo.randomize_vectors(module)
        return module

    def feeds(self, seed: int) -> dict[str, Any]:
        """Seeded random inputs; masks hide the last `seed` tokens."""
        generator = torch.Generator().manual_seed(seed)

        def values(name: str, shape: tuple[int, ...]) -> Any:
            if name == "attention_mask":
                return (torch.arange(shape[-1]) < shape[-1] - seed).expand(shape).long()
            if name.endswith("_ids"):
                return torch.randint(VOCABULARY if name == "input_ids" else 2, shape, generator=generator)
            return torch.randn(shape, generator=generator)

        return {name: values(name, shape) for name, shape in self.inputs.items()}


def _image(height: int, width: int) -> dict[str, tuple[int, ...]]:
    return {"pixel_values": (1, 3, height, width)}


def _tokens(*names: str, shape: tuple[int, int] = (1, 13)) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys(names, shape)


STAGES = {"hidden_sizes": [9, 16, 23, 36], "depths": [1, 2, 1, 1]}
TRANSFORMER = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 75}
MOBILEVIT = {"hidden_sizes": [20, 24, 36], "neck_hidden_sizes": [8, 8, 16, 20, 24, 36, 72]}
SEGFORMER = {"hidden_sizes": [8, 18, 25, 40], "num_attention_heads": [1, 2, 5, 8], "decoder_hidden_size": 18}
DISTILBERT = {"vocab_size": VOCABULARY, "dim": 36, "n_layers": 2, "n_heads": 4, "hidden_dim": 75}
WHISPER = {"d_model": 36, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 75}
LLAMA = TRANSFORMER | {"hidden_size": 40, "num_key_value_heads": 2}  # rotated heads have an even size

ARCHITECTURES = {
    "resnet": Architecture(zoo.classifier("ResNet", embedding_size=9, **STAGES), _image(67, 45)),
    "mobilenetv1": Architecture(zoo.classifier("MobileNetV1", depth_multiplier=0.25), _image(67, 45)),
    "mobilenetv2": Architecture(zoo.classifier("MobileNetV2", depth_multiplier=0.35), _image(67, 45)),
    "efficientnet": Architecture(
        zoo.classifier("EfficientNet", width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320), _image(67, 45)
    ),
    "convnext": Architecture(zoo.classifier("ConvNext", **STAGES), _image(67, 45)),
    "mobilevit": Architecture(zoo.classifier("MobileViT", **MOBILEVIT), _image(99, 65)),
    "vit": Architecture(zoo.classifier("ViT", image_size=(40, 24), patch_size=8, **TRANSFORMER), _image(40, 24)),
    "segformer": Architecture(
        zoo.model("Segformer", "ForSemanticSegmentation", num_labels=7, depths=[1, 1, 1, 1], **SEGFORMER),
        _image(99, 65),
    ),
    "bert": Architecture(
        zoo.bert(vocab_size=VOCABULARY, **TRANSFORMER),
        _tokens("input_ids", "attention_mask", "token_type_ids", shape=(2, 13)),
    ),
    "distilbert": Architecture(
        zoo.model("DistilBert", "ForSequenceClassification", **DISTILBERT), _tokens("input_ids", "attention_mask")
    ),
    "whisper encoder": Architecture(
        zoo.whisper_encoder(num_mel_bins=17, max_source_positions=21, **WHISPER), {"input_features": (1, 17, 42)}
    ),
    "llama": Architecture(
        zoo.model("Llama", "ForCausalLM", vocab_size=VOCABULARY, use_cache=False, **LLAMA),
        _tokens("input_ids", "attention_mask"),
    ),
}
QUICK = ("resnet", "vit", "bert")
"""Those that `make test` has time for."""


def assert_agrees(module: Any, feeds: Mapping[str, Any], actual: Mapping[str, np.ndarray]) -> None:
    """`actual` is what the module gives, by the names it gives them, but for a relative L2 error of REL_TOLERANCE."""
    with torch.no_grad():
        expected = {name: tensor.double().numpy() for name, tensor in module(**feeds).items()}
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].shape == array.shape
        error = np.linalg.norm(actual[name] - array) / np.linalg.norm(array)
        assert error <= REL_TOLERANCE, f"{name}: relative L2 error {error:.1e}"


def arrays(feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in feeds.items()}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow(part="torch" if name in QUICK else "zoo")) for name in ARCHITECTURES],
)
def test_architecture_from_pytorch_computes_the_same(tmp_path, name):
    architecture = ARCHITECTURES[name]
    module, feeds = architecture.module(), architecture.feeds(seed=2)

    report = edgesparse.compile(module, output=tmp_path / "model.esp", example_inputs=architecture.feeds(seed=1))

    assert_agrees(module, feeds, edgesparse.run(report.artifact, arrays(feeds)))


@pytest.mark.slow(part="torch")
def test_architecture_from_pytorch_computes_the_same_on_a_board(tmp_path):
    architecture = ARCHITECTURES["bert"]
    module, feeds = architecture.module(), architecture.feeds(seed=2)
    target = edgesparse.load_target("rpi4")

    report = edgesparse.compile(module, target, tmp_path / "model.esp", example_inputs=architecture.feeds(seed=1))

    assert_agrees(module, feeds, esrun(report.artifact, target.cpu.isa, arrays(feeds), tmp_path))

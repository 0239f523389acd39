"""Reference architectures from `transformers`, with seeded random weights, exported to ONNX.

    python -m models.zoo resnet50 -o build/models/resnet50.onnx

Latency does not depend on trained weights; comparisons of outputs do not either. Needs the `zoo` extra
(torch and transformers); compiling and running the files does not.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesparse.outputs import written

SEED = 0
DEFAULT_DIR = Path("build/models")


@dataclass(frozen=True)
class Entry:
    """One model of the zoo: `build` returns the torch module, `inputs` the names and shapes it takes."""

    summary: str
    build: Callable[[], Any]
    inputs: Mapping[str, tuple[int, ...]]
    output: str = "logits"

    @property
    def takes_tokens(self) -> bool:
        """Whether the inputs are token ids rather than an image."""
        return "input_ids" in self.inputs


def model(kind: str, task: str, **config: Any) -> Callable[[], Any]:
    """Builds the model KINDTASK of transformers, such as LlamaForCausalLM, with KINDConfig(**config)."""

    def build() -> Any:
        import transformers

        config_class = getattr(transformers, f"{kind}Config")
        return getattr(transformers, f"{kind}{task}")(config_class(**config))

    return build


def classifier(kind: str, **config: Any) -> Callable[[], Any]:
    """Builds a classifier of images, of 1000 labels unless `config` says another number."""
    return model(kind, "ForImageClassification", **({"num_labels": 1000} | config))


def bert(**config: Any) -> Callable[[], Any]:
    """Builds a BERT that ends at its last hidden state, as embeddings of sentences need it."""

    def build() -> Any:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(**config), add_pooling_layer=False)

    return build


def whisper_encoder(**config: Any) -> Callable[[], Any]:
    """Builds the encoder of a Whisper."""

    def build() -> Any:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(WhisperConfig(**config))

    return build


IMAGE = {"pixel_values": (1, 3, 224, 224)}
TOKENS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 128))

ZOO = {
    "resnet50": Entry("ResNet-50, 25.6 M parameters", classifier("ResNet"), IMAGE),
    "mobilenetv1": Entry("MobileNetV1 1.0", classifier("MobileNetV1"), IMAGE),
    "mobilenetv2": Entry("MobileNetV2 1.0", classifier("MobileNetV2", tf_padding=False), IMAGE),
    "vit_small": Entry(
        "ViT-S/16",
        classifier("ViT", hidden_size=384, num_attention_heads=6, intermediate_size=1536),
        IMAGE,
    ),
    "vit_base": Entry("ViT-B/16", classifier("ViT"), IMAGE),
    "efficientnet_b0": Entry(
        "EfficientNet-B0",
        classifier("EfficientNet", width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280),
        IMAGE,
    ),
    "convnext_tiny": Entry("ConvNeXt-T", classifier("ConvNext"), IMAGE),
    "mobilevit_small": Entry("MobileViT-S", classifier("MobileViT"), {"pixel_values": (1, 3, 256, 256)}),
    "segformer_b0": Entry(
        "SegFormer-B0, ADE20K head",
        model("Segformer", "ForSemanticSegmentation", num_labels=150),
        {"pixel_values": (1, 3, 512, 512)},
    ),
    "minilm": Entry(
        "BERT of MiniLM-L6 size, 128 tokens",
        bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
        TOKENS,
        "last_hidden_state",
    ),
    "distilbert": Entry(
        "DistilBERT classifier, 128 tokens",
        model("DistilBert", "ForSequenceClassification"),
        dict.fromkeys(("input_ids", "attention_mask"), (1, 128)),
    ),
    "whisper_tiny": Entry(
        "Encoder of Whisper-tiny, 30 s of sound",
        whisper_encoder(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536),
        {"input_features": (1, 80, 3000)},
        "last_hidden_state",
    ),
    "smollm": Entry(
        "Llama of SmolLM-135M size, 128 tokens",
        model(
            "Llama",
            "ForCausalLM",
            hidden_size=576,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            intermediate_size=1536,
            vocab_size=49152,
            tie_word_embeddings=True,
            use_cache=False,
        ),
        {"input_ids": (1, 128)},
    ),
}


def randomize_vectors(module: Any) -> None:
    """Give biases, norms and BatchNorm statistics mild, non-trivial values, so that folding them wrongly shows."""
    import torch

    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            low, high = (-0.1, 0.1) if name.endswith("bias") else (0.8, 1.2)
            parameter.data.uniform_(low, high)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)


def export(name: str, path: Path) -> Path:
    """Build the model `name` and write it as ONNX, batch 1, static shapes.

    Raises: KeyError: `name` is not in ZOO.
    """
    entry = ZOO[name]
    import torch

    torch.manual_seed(SEED)
    module = entry.build().eval()
    randomize_vectors(module)
    if entry.takes_tokens:
        example = {key: torch.ones(shape, dtype=torch.int64) for key, shape in entry.inputs.items()}
    else:
        example = {key: torch.zeros(shape) for key, shape in entry.inputs.items()}
    return write(module, example, entry.output, path)


def write(module: Any, example: Mapping[str, Any], output: str, path: Path, *, any_size: bool = False) -> Path:
    """Write `module` as ONNX with the shapes of `example`, its keyword arguments by name, and one output.

    Args: any_size: leave the first two axes of all inputs open.
    """
    import torch

    axes = {0: torch.export.Dim("batch", min=1, max=512), 1: torch.export.Dim("length", min=2, max=512)}
    program = torch.onnx.export(
        module,
        (),
        kwargs=dict(example),
        dynamo=True,
        input_names=list(example),
        output_names=[output],
        dynamic_shapes=dict.fromkeys(example, axes) if any_size else None,
        verbose=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial:
        program.save(str(partial), external_data=False)
    return path


def cached(name: str) -> Path:
    """Path of the exported model, built on first use in `$EDGESPARSE_MODELS` (default build/models)."""
    path = Path(os.environ.get("EDGESPARSE_MODELS", DEFAULT_DIR)) / f"{name}.onnx"
    return path if path.exists() else export(name, path)


def main() -> None:
    """Export one model from the command line."""
    parser = argparse.ArgumentParser(description="Export a reference model to ONNX.")
    parser.add_argument("name", choices=sorted(ZOO))
    parser.add_argument("-o", "--output", type=Path, help="default: the cache, build/models/NAME.onnx")
    args = parser.parse_args()
    print(export(args.name, args.output) if args.output else cached(args.name))


if __name__ == "__main__":
    main()

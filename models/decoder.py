"""A small Llama-style decoder over bytes, trained on the source of Python's standard library.

    python -m models.decoder -o build/decoder.onnx --steps 2000

Writes ONNX with input `input_ids` int64 [1, 128] and output `logits` [1, 128, 256]. Needs the zoo extra.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from models import corpus, zoo

SEED = 0
VOCABULARY = 256
CONTEXT = 128
BATCH = 32
RATE = 3e-3
WARMUP = 0.1


def build(hidden: int = 128, layers: int = 4) -> Any:
    """The network with seeded random weights: 0.85 M parameters by default."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden // 3 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
        attn_implementation="eager",
    )
    torch.manual_seed(SEED)
    return LlamaForCausalLM(config)


def windows(text: bytes, count: int, seed: int = SEED) -> np.ndarray:
    """`count` windows of CONTEXT bytes of `text` from random places: int64 [count, CONTEXT]."""
    data = np.frombuffer(text, np.uint8)
    begins = np.random.default_rng(seed).integers(0, len(data) - CONTEXT + 1, count)
    chosen: np.ndarray = data[begins[:, None] + np.arange(CONTEXT)].astype(np.int64)
    return chosen


def train(module: Any, text: bytes, steps: int, progress: Callable[[str], None] = print) -> None:
    """AdamW with one cycle of the learning rate, products in bf16."""
    optimizer = torch.optim.AdamW(module.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.1)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=WARMUP)
    module.train()
    started = time.perf_counter()
    for step in range(1, steps + 1):
        tokens = torch.from_numpy(windows(text, BATCH, seed=step))
        with torch.autocast("cpu", torch.bfloat16):
            logits = module(input_ids=tokens).logits
        loss = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        rates.step()
        if step % 100 == 0 or step == steps:
            progress(f"step {step} of {steps}, loss {float(loss.detach()):.3f}, {time.perf_counter() - started:.0f} s")


def export(module: Any, path: Path) -> Path:
    """Write `module` as ONNX, batch 1, static shapes."""
    example = {"input_ids": torch.zeros((1, CONTEXT), dtype=torch.int64)}
    return zoo.write(module.eval(), example, "logits", path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and export as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/decoder.onnx"))
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args(arguments)
    module = build()
    train(module, corpus.source()[0], options.steps)
    print(export(module, options.output))


if __name__ == "__main__":
    main()

"""Find the sentence that means the most like another: python similarity.py minilm.rpi4.esp vocab.txt

Takes any sentence encoder of the BERT family without upper case, such as all-MiniLM-L6-v2, and its vocab.txt; on the
device it needs numpy and edgesparse_runtime alone. Compiled for 64 tokens, with zeros or without:

    edgesparse compile minilm.onnx --target rpi4 --input-shape input_ids=1,64 \
        --input-shape attention_mask=1,64 --input-shape token_type_ids=1,64
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from edgesparse_runtime import Model

SENTENCES = (
    "A man is playing a guitar.",
    "The pan is hot.",
    "A cat sleeps on the sofa.",
    "Somebody makes music.",
    "The train to Vienna is late.",
)


def tokens(text: str, vocabulary: Mapping[str, int]) -> list[int]:
    """WordPiece: words in lower case and without accents, each cut into the longest pieces that are known."""
    plain = "".join(sign for sign in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(sign) != "Mn")
    found = ["[CLS]"]
    for word in re.findall(r"[^\W_\u4e00-\u9fff]+|\S", plain):
        pieces: list[str] = []
        rest = word
        while rest:
            prefix = "##" if pieces else ""
            ends = (end for end in range(len(rest), 0, -1) if prefix + rest[:end] in vocabulary)
            end = next(ends, 0)
            pieces, rest = ([*pieces, prefix + rest[:end]], rest[end:]) if end else (["[UNK]"], "")
        found += pieces
    return [vocabulary[piece] for piece in (*found, "[SEP]")]


def embedded(model: Model, ids: Sequence[int]) -> np.ndarray:
    """The mean of what the model gives for the tokens of a sentence, of length 1."""
    size = model.inputs[0].shape[1]
    ids = ids if len(ids) <= size else [*ids[: size - 1], ids[-1]]
    row = np.zeros((1, size), np.int64)
    row[0, : len(ids)] = ids
    feeds = {"input_ids": row, "attention_mask": np.arange(size)[None] < len(ids), "token_type_ids": np.zeros_like(row)}
    taken = {tensor.name: feeds[tensor.name].astype(tensor.dtype) for tensor in model.inputs}
    mean = model.run(taken)[model.outputs[0].name][0, : len(ids)].mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the sentences by how much they mean the same as the one asked for."""
    parser = argparse.ArgumentParser(description="Find the sentence that means the most like another.")
    parser.add_argument("artifact")
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("--asked", default="Who plays an instrument?")
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args(arguments)
    lines = options.vocabulary.read_text(encoding="utf-8").splitlines()
    vocabulary = {word: number for number, word in enumerate(lines)}
    with Model(options.artifact, threads=options.threads) as model:
        asked, *others = (embedded(model, tokens(text, vocabulary)) for text in (options.asked, *SENTENCES))
    for likeness, sentence in sorted(zip((float(asked @ other) for other in others), SENTENCES, strict=True))[::-1]:
        print(f"{likeness:6.3f}  {sentence}")


if __name__ == "__main__":
    main()

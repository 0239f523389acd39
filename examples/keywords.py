"""Train a keyword spotter on sounds made up here, prune it, compile it, and let it listen: python examples/keywords.py

A word is two vowels, sung by voices of any pitch, at any moment, over noise. Everything from sound to word is in the
artifact: the spectrum is a MatMul with waves, so a device hands over samples as the microphone gives them. Needs the
`demo` extra.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from edgesparse_runtime import Model
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import edgesparse

RATE, SAMPLES, FRAME, BANDS = 8000, 4000, 200, 32
VOWELS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870)}  # formants in Hz
WORDS = ("ai", "ia", "eo", "uo", "(noise)")

GRAPH = f"""<ir_version: 9, opset_import: ["" : 20]>
keywords (float[1, {SAMPLES}] sound) => (float[1, {len(WORDS)}] words) {{
    frames = Reshape (sound, by_frame)
    [spectrum] waves = MatMul (frames, filters)
    squares = Mul (waves, waves)
    pairs = Reshape (squares, by_pair)
    power = ReduceSum <keepdims = 0> (pairs, pair_axis)
    loud = Add (power, quiet)
    logs = Log (loud)
    row = Flatten <axis = 0> (logs)
    [hidden] h = Gemm (row, hidden_weight, hidden_bias)
    r = Relu (h)
    [words] scores = Gemm (r, words_weight, words_bias)
    words = Softmax (scores)
}}"""


def vowel(name: str, pitch: float, count: int) -> np.ndarray:
    """A vowel of `count` samples: harmonics of a pitch, loud near the vowel's two formants."""
    time = np.arange(count) / RATE
    harmonics = np.arange(1, int(RATE / 2 / pitch)) * pitch
    loudness = sum(np.exp(-(((harmonics - formant) / 120) ** 2)) for formant in VOWELS[name])
    return (np.sin(2 * np.pi * np.outer(time, harmonics)) @ loudness) * np.hanning(count)


def sounds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sounds of half a second, and the number of the word in each."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, len(WORDS), count)
    heard = rng.normal(0, rng.uniform(0.02, 0.3, (count, 1)), (count, SAMPLES))
    for sound, word in zip(heard, words, strict=True):
        if WORDS[word] != "(noise)":
            pitch, length = rng.uniform(90, 250), int(rng.integers(900, 1500))
            said = np.concatenate([vowel(name, pitch * rng.uniform(0.9, 1.1), length) for name in WORDS[word]])
            start = rng.integers(0, SAMPLES - len(said))
            sound[start : start + len(said)] += said * rng.uniform(0.3, 1.0)
    return heard.astype(np.float32), words


def filters() -> np.ndarray:
    """Cosines, then sines, of as many frequencies as there are bands, under a window: [FRAME, 2 * BANDS]."""
    angles = 2 * np.pi * np.outer(np.arange(FRAME), np.linspace(100, 3600, BANDS)) / RATE
    return (np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * np.hanning(FRAME)[:, None]).astype(np.float32)


def features(heard: np.ndarray) -> np.ndarray:
    """What the graph computes before its first layer, for many sounds."""
    squares = (heard.reshape(len(heard), -1, FRAME) @ filters()) ** 2
    power: np.ndarray = squares.reshape(len(heard), -1, 2, BANDS).sum(axis=2)
    return np.log(power + 0.1).reshape(len(heard), -1)


def train(path: Path) -> None:
    """Train on sounds, and write the whole way from sound to word as ONNX."""
    heard, words = sounds(1000, seed=0)
    table = features(heard)
    mean, spread = table.mean(), table.std()
    net = MLPClassifier((64,), alpha=0.1, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit((table - mean) / spread, words)
    first, second = (weight.astype(np.float32) for weight in net.coefs_)
    constants = {
        "by_frame": np.array([SAMPLES // FRAME, FRAME]),
        "by_pair": np.array([SAMPLES // FRAME, 2, BANDS]),
        "pair_axis": np.array([1]),
        "filters": filters(),
        "quiet": np.float32(0.1),
        "hidden_weight": first / np.float32(spread),
        "hidden_bias": (net.intercepts_[0] - mean / spread * first.sum(axis=0)).astype(np.float32),
        "words_weight": second,
        "words_bias": net.intercepts_[1].astype(np.float32),
    }
    model = onnx.parser.parse_model(GRAPH)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    onnx.save(model, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, prune, compile, and listen to sounds that were not trained on."""
    parser = argparse.ArgumentParser(description="Train and run a keyword spotter.")
    parser.add_argument("--target", default="host")
    parser.add_argument("--folder", type=Path, default=Path("build/keywords"))
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    model, artifact = options.folder / "keywords.onnx", options.folder / "keywords.esp"
    train(model)
    samples, _ = sounds(256, seed=1)
    report = edgesparse.compile(
        model, options.target, artifact, sparsity=0.8, skip=["spectrum"], calibration={"sound": samples}, labels=WORDS
    )
    print(f"{artifact}: {report.artifact_bytes:,} bytes, {report.density:.0%} of the weights are left")
    if options.target != "host":
        return
    heard, words = sounds(200, seed=2)
    with Model(artifact) as spotter:
        answers = [spotter.top(spotter.run(sound[None]), 1)[0][0] for sound in heard]
    right = np.mean([answer == WORDS[word] for answer, word in zip(answers, words, strict=True)])
    for word, answer in zip(words[:5], answers, strict=False):
        print(f"said {WORDS[word]}, heard {answer}")
    print(f"{right:.1%} of {len(words)} sounds are heard right")


if __name__ == "__main__":
    main()

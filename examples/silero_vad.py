"""Silero VAD (is there speech?), a model with state, judged on spoken prompts in noise.

``edgeloop run examples/silero_vad.py:model --data examples/silero_vad.py:dataset
--on local --as-deployed`` (as it is: a machine that is not tuned is refused otherwise); needs ``pip install
--no-deps silero-vad==6.2.3`` for the model and the Debian package asterisk-core-sounds-en-wav for the
speech. Unpacked elsewhere, its folder is named by ``EDGELOOP_EXAMPLE_SPEECH``.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import numpy as np
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.wav import read_wav
from edgeloop_foundation.errors import MissingDependencyError, NotFoundError
from edgeloop_protocol.types.artifact import StateBinding
from numpy.typing import NDArray

__all__ = ["dataset", "model"]

Samples = NDArray[np.float32]

_RATE = 16_000
_FRAME = 512
_CONTEXT = 64
"""Samples of the frame before that stand in front of each frame."""
_STEPS = 160
"""Frames of a sequence: five seconds."""
_SEQUENCES = 64
_FLOOR_DB = -32.0
"""A frame is speech when the clean prompt's energy there is at most this far below its loudest frame's."""
_SNR_DB = (5.0, 20.0)
_FOLDER = Path("/usr/share/asterisk/sounds")


def model() -> str:
    """Return the path of the installed package's model file; raises MissingDependencyError without it."""
    try:
        # By distribution, not by import name: this file may itself be importable as "silero_vad".
        found = metadata.distribution("silero-vad").locate_file("silero_vad/data/silero_vad.onnx")
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            "this example needs the package 'silero-vad', which is not installed.",
            next_step="Install its files: pip install --no-deps silero-vad==6.2.3",
        ) from error
    return str(found)


def dataset(seed: int = 0) -> Dataset:
    """Return 64 sequences of 160 frames, speech from the prompts alternating with noise alone.

    Inputs: ``input`` float32 ``[64, 160, 576]`` (64 samples of context and 512 new ones at 16 kHz), ``sr``
    int64 ``[64, 160]``; label per frame.

    Raises:
        NotFoundError: the prompts are not there.
    """
    rng = np.random.default_rng(seed)
    prompts = _prompts()
    order = rng.permutation(len(prompts))
    frames, labels, used = [], [], 0
    for _ in range(_SEQUENCES):
        clean, speech, used = _sequence(prompts, order, used, rng)
        frames.append(_framed(_with_noise(clean, rng)))
        labels.append(speech)
    return Dataset(
        name="spoken prompts in noise",
        inputs={"input": np.stack(frames), "sr": np.full((_SEQUENCES, _STEPS), _RATE, np.int64)},
        labels=np.stack(labels),
        state=(StateBinding(input="state", output="stateN"),),
        task="binary",
        metric="roc_auc",
        output="output",
        notes=("8 kHz prompts at 16 kHz, labels by the clean signal's energy",),
    )


def _prompts() -> list[Path]:
    folder = Path(os.environ.get("EDGELOOP_EXAMPLE_SPEECH") or _FOLDER)
    paths = sorted(
        p for p in folder.rglob("*.wav") if p.parent.name != "silence" and p.stat().st_size > 16_000
    )
    if not paths:
        raise NotFoundError(
            f"no spoken prompts in {str(folder)!r}.",
            next_step="Install asterisk-core-sounds-en-wav, or unpack it and set EDGELOOP_EXAMPLE_SPEECH.",
        )
    return paths


def _sequence(
    prompts: list[Path], order: NDArray[np.int64], used: int, rng: np.random.Generator
) -> tuple[Samples, NDArray[np.int64], int]:
    """Return clean samples, a label per frame, and how many prompts were used so far."""
    clean = np.zeros(_STEPS * _FRAME, np.float32)
    speech = np.zeros(_STEPS, np.int64)
    at = int(rng.integers(8, 24))
    while at < _STEPS:
        voice = _upsampled(prompts[int(order[used % len(order)])])
        used += 1
        count = min(len(voice) // _FRAME, _STEPS - at)
        part = voice[: count * _FRAME]
        clean[at * _FRAME : (at + count) * _FRAME] = part
        speech[at : at + count] = _is_speech(part)
        at += count + int(rng.integers(12, 40))
    return clean, speech, used


def _upsampled(path: Path) -> Samples:
    """Return the prompt at 16 kHz, its spectrum extended by zeros."""
    samples, rate = read_wav(path)
    if rate == _RATE:
        return samples
    count = round(len(samples) * _RATE / rate)
    spectrum = np.zeros(count // 2 + 1, np.complex128)
    known = np.fft.rfft(samples)
    kept = min(len(known), len(spectrum))
    spectrum[:kept] = known[:kept]
    return (np.fft.irfft(spectrum, count) * (count / len(samples))).astype(np.float32)


def _is_speech(voice: Samples) -> NDArray[np.int64]:
    energy = np.square(voice.reshape(-1, _FRAME)).mean(axis=1)
    speech: NDArray[np.int64] = (energy > energy.max(initial=0.0) * 10 ** (_FLOOR_DB / 10)).astype(np.int64)
    return speech


def _with_noise(clean: Samples, rng: np.random.Generator) -> Samples:
    """Add noise whose power falls with frequency (pink) at a ratio drawn for the sequence."""
    white = np.fft.rfft(rng.standard_normal(len(clean)))
    pink = np.fft.irfft(white / np.sqrt(np.maximum(1, np.arange(len(white)))), len(clean))
    loud = clean[np.abs(clean) > 1e-3]
    power = float(np.square(loud).mean()) if len(loud) else 1e-3
    ratio = 10 ** (rng.uniform(*_SNR_DB) / 10)
    pink *= np.sqrt(power / ratio / np.square(pink).mean())
    return np.clip(clean + pink, -1.0, 1.0).astype(np.float32)


def _framed(samples: Samples) -> Samples:
    """Return ``[frames, 64 + 512]``; the context of the first frame is silence."""
    padded = np.concatenate((np.zeros(_CONTEXT, np.float32), samples))
    starts = np.arange(len(samples) // _FRAME) * _FRAME
    return np.stack([padded[s : s + _CONTEXT + _FRAME] for s in starts])

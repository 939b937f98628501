"""Audio clips in WAV files, one sub-folder per class."""

from __future__ import annotations

import wave
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, class_folders, data_inputs

__all__ = ["WavReader", "read_wav"]

Samples = NDArray[np.float32]


class WavReader:
    """Clips cut into windows of the model's length; the windows of one clip form a group.

    A clip shorter than a window is padded with silence, a remainder after the last whole window is left
    out. For a model with state one clip is one item of consecutive windows, all clips cut to the same
    number of steps; ``context=N`` puts the N samples before each window in front of it.
    """

    name: ClassVar[str] = "wav"

    def accepts(self, source: DataSource) -> bool:
        """Return whether it is a folder with WAV files in its sub-folders."""
        return source.path.is_dir() and any(source.path.glob("*/*.[wW][aA][vV]"))

    def read(self, request: ReadRequest) -> Dataset:
        """Return the windows as float samples in -1..1.

        Raises:
            InvalidInputError: a file that is not PCM WAV, mixed sampling rates, or a model that takes no
            samples.
        """
        source = request.source
        specs = data_inputs(request.description)
        audio = _audio_input(specs)
        source.require_known("window", "context", "steps", *(s.name for s in specs if s is not audio))
        clips, labels, rate = _clips(source.path)
        context = source.integer("context") or 0
        window = _window(source, audio, context)
        stateful = bool(request.description.state)
        pieces = [_cut(clip, window, context) for clip in clips]
        if stateful:
            steps = source.integer("steps") or min(len(piece) for piece in pieces)
            kept = [i for i, piece in enumerate(pieces) if len(piece) >= steps]
            if not kept:
                raise InvalidInputError(f"data {source.location!r}: no clip has {steps} windows.")
            array, owner = np.stack([pieces[i][:steps] for i in kept]), np.asarray(kept)
        else:
            array = np.concatenate(pieces)
            owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        lead = array.shape[: 1 + stateful]
        item = tuple(array.shape[-1] if axis == -1 else axis for axis in audio.shape[1:])
        inputs: dict[str, NDArray[np.generic]] = {audio.name: array.reshape(*lead, *item)}
        inputs |= {s.name: _constant(source, s, lead) for s in specs if s is not audio}
        return Dataset(
            name=source.path.name,
            inputs=inputs,
            labels=np.asarray(labels)[owner],
            groups=owner,
            state=request.description.state,
            notes=(f"audio at {rate} Hz in windows of {window} samples; nothing was resampled",),
        )


def _audio_input(specs: tuple[TensorSpec, ...]) -> TensorSpec:
    for spec in specs:
        if spec.dtype.startswith("float") and len(spec.shape) >= 2:
            return spec
    raise InvalidInputError(
        "the model takes no audio samples: none of its inputs is a float array.",
        next_step="Compute its features in a function and pass module:function.",
    )


def _window(source: DataSource, audio: TensorSpec, context: int) -> int:
    item = audio.shape[1:]
    asked = source.integer("window")
    if sum(axis != 1 for axis in item) > 1:
        raise InvalidInputError(
            f"input {audio.name!r} has items of shape {list(item)}, which are no plain samples.",
            next_step="Compute its features in a function and pass module:function.",
        )
    if -1 not in item:
        length = prod(item) - context
        if length < 1 or asked not in (None, length):
            raise InvalidInputError(
                f"input {audio.name!r} takes {prod(item)} samples, not {asked or 0} and {context} of context."
            )
        return length
    if asked is None:
        raise InvalidInputError(
            f"input {audio.name!r} takes any number of samples.", next_step="State the window with ?window=N."
        )
    return asked


def _clips(root: Path) -> tuple[list[Samples], list[int], int]:
    clips, labels, rates = [], [], {}
    for _, index, folder in class_folders(root):
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".wav"):
            samples, rate = read_wav(path)
            rates[rate] = path.name
            clips.append(samples)
            labels.append(index)
    if len(rates) != 1:
        found = ", ".join(f"{rate} Hz ({name})" for rate, name in sorted(rates.items()))
        raise InvalidInputError(
            f"data {str(root)!r} mixes sampling rates: {found}.", next_step="Resample them."
        )
    return clips, labels, next(iter(rates))


def read_wav(path: Path) -> tuple[Samples, int]:
    """Return mono samples in -1..1 and the sampling rate in Hz; channels are averaged.

    Raises:
        InvalidInputError: not a PCM WAV file of 8, 16, 24 or 32 bits, or an empty one.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InvalidInputError(f"{path.name} is not a PCM WAV file: {error}.") from error
    if not raw or width not in (1, 2, 3, 4):
        raise InvalidInputError(f"{path.name} holds no samples of 8, 16, 24 or 32 bits.")
    values = _decode(raw[: len(raw) // (width * channels) * width * channels], width)
    return values.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate


def _decode(raw: bytes, width: int) -> Samples:
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    if width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return (wide.view("<i4").ravel() / 2.0**31).astype(np.float32)
    values = np.frombuffer(raw, "<i2" if width == 2 else "<i4")
    return (values / float(2 ** (8 * width - 1))).astype(np.float32)


def _cut(clip: Samples, window: int, context: int) -> Samples:
    """Return ``[windows, context + window]``; the context of the first window is silence."""
    count = max(1, len(clip) // window)
    whole = np.zeros(context + count * window, np.float32)
    used = clip[: count * window]
    whole[context : context + len(used)] = used
    return np.stack([whole[i * window : i * window + context + window] for i in range(count)])


def _constant(source: DataSource, spec: TensorSpec, lead: tuple[int, ...]) -> NDArray[np.generic]:
    values = source.floats(spec.name)
    if values is None or len(values) != 1 or any(axis not in (1, -1) for axis in spec.shape):
        raise InvalidInputError(
            f"data {source.location!r} has nothing for the input {spec.name!r}.",
            next_step=f"State one constant with ?{spec.name}=VALUE, or pass module:function.",
        )
    return np.full((*lead, *(1 for _ in spec.shape[1:])), values[0], dtype=spec.dtype)

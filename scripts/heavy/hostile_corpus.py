"""Some seventy model files that do harm, or are no models, with the verdicts that are right for each."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from edgeloop_protocol.types.run import FailureKind, Outcome
from hostile import Hostile, allocation_bomb, endless_loop
from onnx import TensorProto, helper, numpy_helper

Verdicts = frozenset[tuple[Outcome, FailureKind]]
REFUSED: Verdicts = frozenset(
    {
        (Outcome.USER_ERROR, FailureKind.LOAD_FAILED),
        (Outcome.USER_ERROR, FailureKind.INFERENCE_FAILED),
        (Outcome.USER_ERROR, FailureKind.CORRUPT_ARTIFACT),
        (Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL),
        (Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED),
    }
)
CRASHED: Verdicts = frozenset({(Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED)})
MEMORY: Verdicts = frozenset({(Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)})
LATE: Verdicts = frozenset({(Outcome.TIMEOUT, FailureKind.DEADLINE)})
HARMLESS: Verdicts = frozenset({(Outcome.SUCCESS, FailureKind.NONE)})

_value = helper.make_tensor_value_info
X, Y = _value("x", TensorProto.FLOAT, [1]), _value("y", TensorProto.FLOAT, None)


def onnx_model(
    nodes: Sequence[Any], constants: Sequence[Any] = (), *, opset: int = 17, ir: int = 8, **more: Any
) -> bytes:
    graph = helper.make_graph(
        list(nodes), "g", [more.pop("input", X)], [more.pop("output", Y)], list(constants)
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in more.pop("domains", ()))]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=ir, **more).SerializeToString())


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], **attributes)


def array(name: str, values: Any, kind: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.array(values, kind), name)


def external(location: str, **entries: int) -> bytes:
    """An initializer whose bytes lie in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))
    return onnx_model([node("Add", "x", "w")], [weight])


def external_data() -> Iterator[Hostile]:
    for location in (
        "../secret", "../../secret", "x/../../secret", "/etc/passwd", "../../../../../../etc/passwd", "/proc/self/mem",
        "/proc/self/environ", "/dev/zero", "*/_ORT_MEM_ADDR_/*", "\x00", "a" * 5000,
    ):  # fmt: skip
        yield Hostile(f"external data at {location[:24]!r}", external(location), REFUSED)
    yield Hostile("external data beyond the end", external("golden.npz", offset=1 << 40, length=16), REFUSED)
    yield Hostile("external data of negative length", external("golden.npz", offset=0, length=-16), REFUSED)
    yield Hostile(
        "external data of 4 EiB", external("golden.npz", offset=0, length=1 << 62), REFUSED | MEMORY
    )


def shapes() -> Iterator[Hostile]:
    for name, dims, raw in (
        ("a tensor of 4 TiB in no bytes", [1 << 40], b""),
        ("a tensor of negative size", [-4], b"\0" * 16),
        ("a tensor whose size overflows", [1 << 32, 1 << 32, 4], b"\0" * 16),
        ("a tensor of more bytes than values", [2], b"\0" * 64),
    ):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=raw)
        yield Hostile(name, onnx_model([node("Add", "x", "w")], [tensor]), REFUSED | MEMORY)
    yield Hostile("ConstantOfShape of 64 GiB", allocation_bomb(), MEMORY)
    large, one = [1 << 34], array("one", [1.0], np.float32)
    for kind, inputs, constants in (
        ("Expand", ("x", "s"), [array("s", large)]),
        ("Tile", ("x", "s"), [array("s", large)]),
        ("Pad", ("x", "s"), [array("s", [0, 1 << 34])]),
        ("Resize", ("x", "", "s"), [array("s", [1e10], np.float32)]),
    ):
        yield Hostile(f"{kind} to 64 GiB", onnx_model([node(kind, *inputs)], constants), MEMORY | REFUSED)
    numbers = [array(n, v) for n, v in (("a", 0), ("b", 1 << 36), ("c", 1))]
    whole = _value("y", TensorProto.INT64, None)
    ranged = onnx_model([node("Range", "a", "b", "c")], numbers, output=whole)
    yield Hostile("Range of 512 GiB", ranged, MEMORY | REFUSED)
    doubled = [node("Concat", f"t{i}", f"t{i}", out=f"t{i + 1}", axis=0) for i in range(40)]
    doubled = [node("Identity", "x", out="t0"), *doubled, node("Identity", "t40")]
    # On a busy machine its time is over before the memory is full.
    yield Hostile("forty doublings", onnx_model(doubled, [one]), MEMORY | LATE)
    noise = node("RandomNormal", shape=[1 << 34])
    yield Hostile("RandomNormal of 64 GiB", onnx_model([noise]), MEMORY | REFUSED)


def loop(body: Sequence[Any], outputs: Sequence[Any], count: int, out: Sequence[str] = ("y",)) -> bytes:
    graph = helper.make_graph(
        list(body), "b",
        [_value("i", TensorProto.INT64, []), _value("c", TensorProto.BOOL, []), _value("p", TensorProto.FLOAT, [1])],
        list(outputs),
    )  # fmt: skip
    whole = helper.make_node("Loop", ["n", "t", "x"], list(out), body=graph)
    return onnx_model([whole], [array("n", count), array("t", True, np.bool_)])


def loops() -> Iterator[Hostile]:
    yield Hostile("endless loop at load", endless_loop("v"), LATE)
    yield Hostile("endless loop at inference", endless_loop("x"), LATE)
    step = [node("Identity", "c", out="d"), node("Add", "p", "p", out="q")]
    ends = [_value("d", TensorProto.BOOL, []), _value("q", TensorProto.FLOAT, [1])]
    yield Hostile("a loop of 2^62 steps", loop(step, ends, 1 << 62), LATE)
    kept = [*step, node("Expand", "p", "s", out="r"), node("Constant", out="s", value=array("v", [1 << 22]))]
    kept = [kept[3], *kept[:3]]
    ends += [_value("r", TensorProto.FLOAT, None)]
    yield Hostile("a loop that keeps 16 MiB a step", loop(kept, ends, 1 << 40, ("y", "z")), MEMORY | LATE)


def graphs() -> Iterator[Hostile]:
    nested = helper.make_graph(
        [node("Identity", "x", out="o")], "g", [], [_value("o", TensorProto.FLOAT, None)]
    )
    for _ in range(20):
        inner = helper.make_node("If", ["t"], ["o"], then_branch=nested, else_branch=nested)
        inner.attribute[1].g.CopyFrom(
            helper.make_graph([node("Identity", "x", out="o")], "e", [], list(nested.output))
        )
        nested = helper.make_graph([inner], "g", [], list(nested.output))
    branch = helper.make_node("If", ["t"], ["y"], then_branch=nested, else_branch=nested)
    deep = onnx_model([branch], [array("t", True, np.bool_)])
    yield Hostile("twenty nested subgraphs", deep, REFUSED | HARMLESS | CRASHED)
    own = helper.make_opsetid("", 17), helper.make_opsetid("own", 1)
    self_call = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], own
    )
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    endless = REFUSED | CRASHED | MEMORY | LATE
    data = onnx_model([call], functions=[self_call], domains=["own"])
    yield Hostile("a function that calls itself", data, endless)
    twice = [helper.make_function("own", "F0", ["a"], ["b"], [node("Relu", "a", out="b")], own)]
    for level in range(1, 31):
        name = f"F{level - 1}"
        pair = [
            helper.make_node(name, ["a"], ["m"], domain="own"),
            helper.make_node(name, ["m"], ["b"], domain="own"),
        ]
        twice.append(helper.make_function("own", f"F{level}", ["a"], ["b"], pair, own))
    call = helper.make_node("F30", ["x"], ["y"], domain="own")
    yield Hostile(
        "functions that double thirty times", onnx_model([call], functions=twice, domains=["own"]), endless
    )
    many = [node("Relu", f"t{i}" if i else "x", out=f"t{i + 1}") for i in range(200_000)]
    yield Hostile("200,001 nodes in a row", onnx_model([*many, node("Relu", "t200000")]), endless)
    for name, nodes in (
        ("a cycle", [node("Add", "x", "b", out="a"), node("Relu", "a", out="b"), node("Abs", "b")]),
        ("an input that nobody makes", [node("Add", "x", "nowhere")]),
        ("an output made twice", [node("Relu", "x"), node("Relu", "x")]),
        ("an operator that nobody knows", [node("Nope", "x")]),
        ("an attribute of another type", [node("Softmax", "x", axis="first")]),
        ("a compiled program inside", [node("EPContext", "x", domain="com.microsoft", ep_cache_context="code")]),
        ("a library of one's own", [helper.make_node("Run", ["x"], ["y"], domain="own", library="/tmp/evil.so")]),
        ("Python inside", [helper.make_node("PyOp", ["x"], ["y"], domain="pyopadd", module="os", compute="system")]),
    ):  # fmt: skip
        domains = sorted({entry.domain for entry in nodes} - {""})
        yield Hostile(name, onnx_model(nodes, domains=domains), REFUSED)
    yield Hostile("operator set 60", onnx_model([node("Relu", "x")], opset=60), REFUSED)
    yield Hostile("format version 99", onnx_model([node("Relu", "x")], ir=99), REFUSED)
    wide = _value("x", TensorProto.FLOAT, [3, 224, 224])
    yield Hostile("another input than the manifest's", onnx_model([node("Relu", "x")], input=wide), REFUSED)
    text = _value("x", TensorProto.STRING, [1])
    told = _value("y", TensorProto.STRING, None)
    yield Hostile("an input of text", onnx_model([node("Identity", "x")], input=text, output=told), REFUSED)
    for word, value in (("NaN", np.nan), ("infinite", np.inf)):
        weights = array("w", [value], np.float32)
        yield Hostile(f"{word} weights", onnx_model([node("Mul", "x", "w")], [weights]), HARMLESS)


class _Shell:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, ("touch escaped",)


def files() -> Iterator[Hostile]:
    good = onnx_model([node("Relu", "x")])
    deep = b""
    for _ in range(2000):
        deep = b"\x3a" + _varint(len(deep)) + deep
    for name, data in (
        ("random bytes", np.random.default_rng(7).bytes(4096)),
        ("the first half of a model", good[: len(good) // 2]),
        ("a gzip bomb", gzip.compress(bytes(64 << 20))),
        ("a pickle with a shell command", pickle.dumps(_Shell())),
        ("a program", b"\x7fELF\x02\x01\x01" + bytes(200)),
        ("a shell script", b"#!/bin/sh\ntouch escaped\n"),
        ("a Python script", b"import os\nos.system('touch escaped')\n"),
        ("a field longer than the file", b"\x3a\xff\xff\xff\xff\x0f" + good),
        ("a number of eleven bytes", b"\x08" + b"\xff" * 11),
        ("two thousand nested messages", deep),
    ):
        yield Hostile(name, data, REFUSED)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def flatbuffers() -> Iterator[Hostile]:
    magic = b"TFL3"
    broken = REFUSED | CRASHED
    for name, data in (
        ("a root outside the file", struct.pack("<I", 0x7FFFFFF0) + magic + bytes(64)),
        ("a root that points at itself", struct.pack("<I", 0) + magic + bytes(64)),
        ("a table outside the file", struct.pack("<I4si", 8, magic, -0x7FFFFFFF) + bytes(64)),
        (
            "a vector of 2^31 entries",
            struct.pack("<I4siHHHHI", 16, magic, 0, 8, 8, 4, 4, 0x7FFFFFFF) + bytes(32),
        ),
        ("nothing but the magic", struct.pack("<I", 8) + magic),
        (
            "random bytes behind the magic",
            struct.pack("<I", 8) + magic + np.random.default_rng(9).bytes(2048),
        ),
        ("an ONNX file", onnx_model([node("Relu", "x")])),
    ):
        yield Hostile(f"TFLite: {name}", data, broken, "tflite", "litert")
    yield Hostile("ExecuTorch: a pickle", pickle.dumps(_Shell()), broken, "pte", "executorch")


def corpus() -> list[Hostile]:
    """Return every hostile file, always in the same order."""
    makers = (external_data, shapes, loops, graphs, files, flatbuffers)
    return [hostile for maker in makers for hostile in maker()]

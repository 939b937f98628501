"""Small TFLite models for the tests of this room."""

from __future__ import annotations

import numpy as np

from tests.controller.orchestrate.tflite_writer import TfLiteGraph

WIDTH, CLASSES = 16, 4
_RNG = np.random.default_rng(5)
W1 = (_RNG.standard_normal((WIDTH, WIDTH)) / 4).astype(np.float32)
W2 = (_RNG.standard_normal((WIDTH, CLASSES)) / 4).astype(np.float32)


def tflite_classifier() -> bytes:
    batch = {"x": (-1, WIDTH), "a": (-1, WIDTH), "c": (-1, CLASSES), "probabilities": (-1, CLASSES)}
    values = {name: (shape, "float32") for name, shape in batch.items()}
    dense = {"keepNumDims": False}
    return TfLiteGraph(
        inputs=["x"],
        outputs=["probabilities", "class"],
        values={**values, "class": ((-1,), "int64")},
        constants={
            # TFLite keeps the weights of a layer as [outputs, inputs].
            "w1": np.ascontiguousarray(W1.T),
            "w2": np.ascontiguousarray(W2.T),
            "axis": np.array(-1, np.int32),
        },
        operators=[
            ("FULLY_CONNECTED", ["x", "w1"], ["a"], {**dense, "fusedActivationFunction": 1}),
            ("FULLY_CONNECTED", ["a", "w2"], ["c"], dense),
            ("SOFTMAX", ["c"], ["probabilities"], {"beta": 1.0}),
            ("ARG_MAX", ["c", "axis"], ["class"], {"outputType": 4}),
        ],
    ).to_bytes()


def tflite_step() -> bytes:
    values = dict.fromkeys(("x", "s", "d", "y", "t"), ((1, 2), "float32"))
    return TfLiteGraph(
        inputs=["x", "s"],
        outputs=["y", "t"],
        values=values,
        constants={"two": np.array([2.0], np.float32)},
        operators=[
            ("ADD", ["x", "s"], ["y"], {}),
            ("MUL", ["s", "two"], ["d"], {}),
            ("ADD", ["d", "x"], ["t"], {}),
        ],
    ).to_bytes()


def tflite_unknown() -> bytes:
    values = dict.fromkeys(("x", "y"), ((1, 2), "float32"))
    return TfLiteGraph(["x"], ["y"], values, {}, [("FrobnicateTwice", ["x"], ["y"], {})]).to_bytes()

"""The program of ten lines that runs an artifact, and the module beside it that knows what the manifest declares."""

from __future__ import annotations

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.artifact import Artifact

__all__ = ["processing_module", "run_program"]


def run_program(manifest: Artifact) -> str:
    """Return a Python program that runs the model on its first golden item and shows how near it comes.

    Raises:
        UnsupportedError: the model is not ONNX, or there is no golden pack.
    """
    if manifest.format != "onnx" or not manifest.golden_file:
        what = f"is {manifest.format}" if manifest.format != "onnx" else "has no golden pack"
        raise UnsupportedError(
            f"artifact {manifest.label!r} {what}; a package holds ONNX with its golden pack.",
            next_step="Copy it out with edgeloop artifact get.",
        )
    first = "[:1, 0]" if manifest.state else "[:1]"
    return f"""\
import numpy, onnxruntime
from processing import decide, prepare
golden = numpy.load({manifest.golden_file!r})
session = onnxruntime.InferenceSession({manifest.model_file!r}, providers=["CPUExecutionProvider"])
feed = prepare({{name[6:]: golden[name]{first} for name in golden.files if name.startswith("input/")}})
answers = dict(zip([output.name for output in session.get_outputs()], session.run(None, feed)))
for name in [name[5:] for name in golden.files if name.startswith("host/")]:
    expected = numpy.float64(golden["host/" + name]{first})
    print(name, "differs by at most", numpy.abs(answers[name].reshape(expected.shape) - expected).max())
print("decision:", decide(answers))
"""


def processing_module(manifest: Artifact) -> str:
    """Return the module ``processing``: arrays into the declared form, and the declared decision out of answers."""
    state = {binding.input for binding in manifest.state}
    inputs = {s.name: (s.dtype, s.shape) for s in manifest.inputs if s.name not in state}
    zeros = {s.name: (s.dtype, tuple(max(1, n) for n in s.shape)) for s in manifest.inputs if s.name in state}
    decision = (manifest.decision_output, manifest.decision_rule, manifest.decision_threshold)
    head = f"INPUTS = {inputs!r}\nSTATE = {zeros!r}\nDECISION = {decision!r}\n"
    return _MODULE.replace("# DECLARED\n", head)


_MODULE = '''\
"""What goes into the model and what is read from it, as its manifest declares; needs numpy alone."""

import numpy

# DECLARED

def prepare(arrays):
    """Return the feed of one inference from arrays by input name; state begins at zero.

    A single item of a model without a batch axis may come with one. ValueError says what does not fit.
    """
    feed = {name: numpy.zeros(shape, dtype) for name, (dtype, shape) in STATE.items()}
    for name, (dtype, shape) in INPUTS.items():
        if name not in arrays:
            raise ValueError(f"the input {name!r} is missing")
        array = numpy.asarray(arrays[name])
        if array.ndim == len(shape) + 1 and len(array) == 1:
            array = array[0]
        fits = array.ndim == len(shape) and all(a in (-1, b) for a, b in zip(shape, array.shape))
        if not fits or not numpy.can_cast(array.dtype, dtype, "same_kind"):
            raise ValueError(f"{name!r} is {array.dtype} {array.shape}, the model takes {dtype} {shape}")
        feed[name] = numpy.ascontiguousarray(array, dtype)
    return feed


def decide(answers):
    """Return the decision of each item; None where the model's outputs decide nothing."""
    output, rule, threshold = DECISION
    if not rule:
        return None
    scores = numpy.asarray(answers[output])
    scores = scores.reshape(len(scores) if scores.ndim > 1 else 1, -1)
    if scores.dtype.kind in "iu" and scores.shape[1] == 1:
        return scores[:, 0]
    return scores.argmax(axis=1) if rule == "argmax" else scores[:, 0] >= threshold
'''

"""Every pass on every kind of model: it keeps its promises, or refuses in one sentence that says what and why.

The promises themselves (input untouched, interface, operator sets, precision, loads) are checked by ``Pass.run``; here
they meet every kind of file, and what was made is run.
"""

from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.compare import answers, nonfinite, unrelated
from edgeloop.compress.passes import BUILTIN, REGISTRY, make_pass
from edgeloop.compress.passes.base import UNCHANGED, PassContext
from edgeloop.compress.sources import load_source
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding

KINDS = (
    "cnn",
    "constants",
    "old",
    "external",
    "mlp",
    "two_inputs",
    "lstm",
    "branching",
    "looping",
    "stateful",
    "tree",
)
ALWAYS = {"optimize_graph"}
PACKAGES = {"quantize_nncf": "nncf"}


def source_and_data(zoo, kind, tmp_path):
    rng = np.random.default_rng(0)
    path, state = tmp_path / "m.onnx", ()

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    inputs = {"x": zoo.images(6)}
    if kind == "constants":
        zoo.cnn(path, constants=True)
    elif kind == "old":
        zoo.cnn(path, opset=9)
    elif kind == "two_inputs":
        inputs = {"tokens": rng.integers(0, 50, (6, 5)), "side": normal(6, 8)}
    elif kind == "lstm":
        inputs = {"x": normal(6, 7, 1, 12)}
    elif kind == "stateful":
        state = (StateBinding(input="state", output="next"),)
        inputs = {"x": normal(6, 4, 1, 6)}
    elif kind not in ("cnn", "external"):
        inputs = {"x": normal(6, {"mlp": 32, "tree": 2}.get(kind, 4))}
    if kind not in ("constants", "old"):
        getattr(zoo, kind)(path)
    source = load_source(str(path), tmp_path / "source", state)
    return source, Dataset(name="d", inputs=inputs, state=state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_it_keeps_its_promises_or_refuses_with_a_reason(zoo, tmp_path, name, kind):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    source, data = source_and_data(zoo, kind, tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    context = PassContext(work_directory=work, calibration=data)
    settings = {"elements_min": 64} if name == "int4_at_rest" else {}
    step = make_pass(PassSpec.of(name, **settings))
    result, refusal = None, ""
    try:
        result = step.run(source.path, work / "out.onnx", context, source.description)
    except UnsupportedError as error:
        refusal = error.message
    if result is None:
        assert name not in ALWAYS
        assert refusal.startswith(f"{step.title} does not apply to m.onnx: ")
        assert "\n" not in refusal
        return
    reference = answers(source.path, source.description, data)
    made = answers(result.path, result.description, data)
    assert not nonfinite(made, reference)
    assert not unrelated(made, reference)
    if step.ensures.precision == UNCHANGED and name != "int4_at_rest":
        for output, values in reference.items():
            np.testing.assert_allclose(made[output], values, rtol=1e-3, atol=1e-4)
    assert result.notes


def test_the_suite_covers_every_pass():
    assert {REGISTRY.load(name).name for name in BUILTIN} == set(BUILTIN)

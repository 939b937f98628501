from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop_foundation.errors import InternalError, InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    pass


class Trick(Pass[Settings]):
    """A pass that does whatever the test tells it to."""

    name = "trick"
    title = "trick"
    settings_type = Settings
    act: Callable[[Path, Path], None]

    def _run(self, source: Path, target: Path, context: PassContext, source_model: Any, note: Any) -> None:
        type(self).act(source, target)


def run(act: Callable[[Path, Path], None], source: Any, tmp_path: Path, **ensures: Any) -> Any:
    driver = type("Trick", (Trick,), {"act": staticmethod(act), "ensures": Ensures(**ensures)})
    context = PassContext(work_directory=tmp_path)
    return driver(Settings()).run(source.path, tmp_path / "out.onnx", context, source.description)


def edited(change: Callable[[Any], None]) -> Callable[[Path, Path], None]:
    def act(source: Path, target: Path) -> None:
        model = onnx.load(source)
        change(model)
        target.write_bytes(model.SerializeToString())

    return act


@pytest.fixture
def source(zoo, tmp_path, load):
    return load(zoo.cnn(tmp_path / "m.onnx"))


def test_an_honest_pass_passes(source, tmp_path):
    result = run(edited(lambda m: None), source, tmp_path)
    assert result.description.inputs == source.description.inputs


def test_a_pass_that_writes_into_its_input_is_caught(source, tmp_path):
    def act(path: Path, target: Path) -> None:
        target.write_bytes(path.read_bytes())
        model = onnx.load(path)
        model.producer_name = "me"
        path.write_bytes(model.SerializeToString())

    with pytest.raises(InternalError, match=r"changed its input m\.onnx"):
        run(act, source, tmp_path)


def test_nothing_written_is_caught(source, tmp_path):
    with pytest.raises(InternalError, match="wrote no model"):
        run(lambda path, target: None, source, tmp_path)


def test_a_model_that_does_not_load_is_caught(source, tmp_path):
    def break_it(model: Any) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(InternalError, match="does not load"):
        run(edited(break_it), source, tmp_path)


def test_a_changed_interface_is_caught(source, tmp_path):
    def rename(model: Any) -> None:
        model.graph.node[-1].output[0] = "z"
        model.graph.output[0].name = "z"

    with pytest.raises(InternalError, match="changed the outputs"):
        run(edited(rename), source, tmp_path)

    def fix_batch(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4

    with pytest.raises(InternalError, match="changed the shape of input 'x'"):
        run(edited(fix_batch), source, tmp_path)


def test_a_raised_opset_is_caught(source, tmp_path):
    def raise_it(model: Any) -> None:
        model.opset_import[0].version = 22

    with pytest.raises(InternalError, match="raised the operator set to 22; 21 was promised"):
        run(edited(raise_it), source, tmp_path)


def test_a_claim_of_int8_without_integers_is_caught(source, tmp_path):
    with pytest.raises(InternalError, match="no parameter of its output became an integer"):
        run(edited(lambda m: None), source, tmp_path, precision="int8")


def test_a_silent_change_of_precision_is_caught(source, tmp_path, runner, image_data):
    from edgeloop.domain.recipe import PassSpec, Recipe

    made = runner(image_data).run(source, Recipe(label="q", passes=(PassSpec.of("quantize_static"),)))
    with pytest.raises(InternalError, match="promised to keep the precision fp32"):
        run(lambda path, target: target.write_bytes(made.path.read_bytes()) and None, source, tmp_path)


def test_whatever_a_library_raises_becomes_one_sentence(source, tmp_path):
    def act(path: Path, target: Path) -> None:
        raise KeyError("strange")

    with pytest.raises(InvalidInputError, match=r"trick failed on m\.onnx: KeyError: 'strange'"):
        run(act, source, tmp_path)

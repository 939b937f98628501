from __future__ import annotations

import inspect
from pathlib import Path

import onnx
import pytest
from edgeloop.compress import sources
from edgeloop.compress.sources import BUILTIN, REGISTRY, load_source
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError


def test_files_table_and_names_agree():
    room = Path(inspect.getfile(sources)).parent
    assert {p.stem for p in room.glob("*.py")} - {"__init__", "base"} == set(BUILTIN)
    assert all(REGISTRY.load(name).name == name for name in BUILTIN)


def test_a_file_is_read_where_it_stands(zoo, tmp_path):
    path = zoo.external(tmp_path / "m.onnx")
    found = load_source(str(path), tmp_path / "work")
    assert found.path == path
    assert [p.name for p in found.files] == ["m.onnx", "Big File.bin"]
    assert not (tmp_path / "work").exists()


def test_a_function_that_returns_a_model(zoo, tmp_path):
    path = zoo.cnn(tmp_path / "m.onnx")
    script = tmp_path / "give.py"
    script.write_text(
        "import onnx\n"
        f"def model():\n    return onnx.load({str(path)!r})\n"
        f"def path():\n    return {str(path)!r}\n"
        "def number():\n    return 3\n"
        "def broken():\n    raise ValueError('no luck')\n"
    )
    made = load_source(f"{script}:model", tmp_path / "work")
    assert onnx.load(made.path).graph.node[0].op_type == "Conv"
    assert made.description.name == "give.py:model"
    assert load_source(f"{script}:path", tmp_path / "work").path == path
    with pytest.raises(InvalidInputError, match="returned int; expected a path"):
        load_source(f"{script}:number", tmp_path / "work")
    with pytest.raises(InvalidInputError, match="no luck"):
        load_source(f"{script}:broken", tmp_path / "work")
    with pytest.raises(NotFoundError, match="no function 'absent'"):
        load_source(f"{script}:absent", tmp_path / "work")


def test_what_is_missing_is_named(tmp_path):
    script = tmp_path / "needs.py"
    script.write_text("import a_package_that_is_not_there\ndef f():\n    return 1\n")
    with pytest.raises(MissingDependencyError, match="a_package_that_is_not_there"):
        load_source(f"{script}:f", tmp_path)
    with pytest.raises(NotFoundError, match="no module 'nowhere_at_all'"):
        load_source("nowhere_at_all:f", tmp_path)
    with pytest.raises(NotFoundError, match="does not exist"):
        load_source(str(tmp_path / "none.onnx"), tmp_path)
    with pytest.raises(InvalidInputError, match="is a directory"):
        load_source(str(tmp_path), tmp_path)
    (tmp_path / "m.keras").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=r"m\.keras is not an ONNX model: it looks like"):
        load_source(str(tmp_path / "m.keras"), tmp_path)


def test_a_torch_module_without_torch(tmp_path):
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        script = tmp_path / "net.py"
        script.write_text("def f():\n    return object(), object()\n")
        with pytest.raises(MissingDependencyError, match=r"edgeloop\[torch\]"):
            load_source(f"{script}:f", tmp_path)
    else:
        pytest.skip("torch is installed")


@pytest.mark.needs_torch
def test_a_torch_module_is_exported(tmp_path):
    pytest.importorskip("torch")
    script = tmp_path / "net.py"
    script.write_text(
        "import torch\n"
        "def f():\n    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), "
        "torch.randn(2, 4)\n"
    )
    found = load_source(f"{script}:f", tmp_path / "work")
    assert found.description.parameter_count == 15
    assert found.description.inputs[0].shape == (-1, 4)
    assert len(found.files) == 1

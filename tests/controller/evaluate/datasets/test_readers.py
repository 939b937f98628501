"""Every form of data, through ``load_data``."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import edgeloop.evaluate.datasets as room
import numpy as np
import pytest
from edgeloop.domain.model import ModelDescription
from edgeloop.evaluate.datasets import BUILTIN, DATASETS, load_data, random_inputs
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError
from edgeloop_protocol.types.artifact import StateBinding
from PIL import Image

Model = Callable[..., ModelDescription]
STATE = (StateBinding(input="h", output="h2"),)


def test_room_table_and_names_agree() -> None:
    files = {p.stem for p in Path(room.__file__).parent.glob("*.py")}
    assert files - {"__init__", "base", "fit", "random"} == set(BUILTIN)
    assert all(DATASETS.load(name).name == name for name in BUILTIN)


def test_npz(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "d.npz"
    np.savez(
        path, x=np.ones((4, 2), np.float32), labels=[0, 1, 2, 0], groups=[0, 0, 1, 1], calibration_indices=[3]
    )
    data = load_data(str(path), model(("x", (-1, 2))), seed=0)
    assert data.labels is not None
    assert data.groups is not None
    assert (data.labels.tolist(), data.groups.tolist(), data.calibration_indices) == (
        [0, 1, 2, 0],
        [0, 0, 1, 1],
        (3,),
    )


def test_npz_with_other_names_and_npy(tmp_path: Path, model: Model) -> None:
    np.savez(tmp_path / "d.npz", features=np.ones((2, 2), np.float32), target=[0, 1])
    data = load_data(f"{tmp_path}/d.npz?labels=target", model(("x", (-1, 2))), seed=0)
    assert list(data.inputs) == ["x"]
    np.save(tmp_path / "d.npy", np.ones((3, 2), np.float32))
    assert load_data(f"{tmp_path}/d.npy", model(("x", (-1, 2))), seed=0).labels is None
    with pytest.raises(InvalidInputError, match="no array 'y'; it has features, target"):
        load_data(f"{tmp_path}/d.npz?labels=y", model(("x", (-1, 2))), seed=0)


def test_pickles_and_rubbish_are_refused(tmp_path: Path, model: Model) -> None:
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, {}], object))
    (tmp_path / "rubbish.npz").write_bytes(b"PK rubbish")
    for name in ("pickled", "rubbish"):
        with pytest.raises(InvalidInputError, match="not a NumPy file of plain arrays"):
            load_data(f"{tmp_path}/{name}.npz", model(("x", (-1, 2))), seed=0)


@pytest.mark.parametrize(
    "spec", ["missing.npz", "missing.csv", "missing", "missing.py:f", "no.such.module:f"]
)
def test_what_does_not_exist_is_not_found(spec: str, model: Model) -> None:
    with pytest.raises(NotFoundError, match=r"missing|no\.such\.module"):
        load_data(spec, model(("x", (-1, 2))), seed=0)


def test_csv_with_one_input(tmp_path: Path, model: Model) -> None:
    (tmp_path / "d.csv").write_text("id,a,b,label,group\n7,1,2.5,0,x\n8,3,4,2,x\n9,5,6,1,y\n")
    data = load_data(f"{tmp_path}/d.csv?drop=id", model(("x", (-1, 2))), seed=0)
    assert data.inputs["x"].tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert data.inputs["x"].dtype == np.float32
    assert data.labels is not None
    assert data.labels.tolist() == [0, 2, 1]
    assert data.groups is not None
    assert data.groups.tolist() == ["x", "x", "y"]


def test_csv_with_an_input_per_column(tmp_path: Path, model: Model) -> None:
    (tmp_path / "d.csv").write_text("age,city,y\n30,Ulm,1\n40,Bonn,0\n")
    two = model(("age", (-1, 1), "int64"), ("city", (-1, 1), "object"))
    data = load_data(f"{tmp_path}/d.csv?label=y", two, seed=0)
    assert data.inputs["age"].tolist() == [[30], [40]]
    assert data.inputs["city"].tolist() == [["Ulm"], ["Bonn"]]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("a,b\n1,2\n", "", "1 feature columns|2 feature columns for the input 'x', which takes 3"),
        ("a,b,c\n1,2\n", "", "row 2 has 2 cells, the header 3"),
        ("a,b,c\n1,2,red\n", "", "column 'c' holds 'red', which is no number"),
        ("a,b,c\n1,,3\n", "", "1 NaN or infinite"),
        ("a,b,c\n", "", "no rows below its header"),
        ("a,a,c\n1,2,3\n", "", "two columns of one name"),
        ("a,b,c\n1,2,3\n", "?label=y", "no column 'y'; it has a, b, c"),
        ("a,b,c\n1,2,3\n", "?lable=y", "takes no option 'lable'"),
        ("a,b,c,label\n1,2,3,\n", "", "labels are NaN"),
        ("a,b,c\n1,2,3\n", "?label", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, model: Model, text: str, options: str, says: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        load_data(f"{tmp_path}/d.csv{options}", model(("x", (-1, 3))), seed=0)


def test_parquet(tmp_path: Path, model: Model) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        (tmp_path / "d.parquet").write_bytes(b"PAR1")
        with pytest.raises(MissingDependencyError, match=r"pip install 'edgeloop\[parquet\]'"):
            load_data(f"{tmp_path}/d.parquet", model(("x", (-1, 2))), seed=0)
        return
    pyarrow.parquet.write_table(
        pyarrow.table({"a": [1.0, 2.0], "b": [3, 4], "label": [0, 1]}), tmp_path / "d.parquet"
    )
    assert load_data(f"{tmp_path}/d.parquet", model(("x", (-1, 2))), seed=0).inputs["x"].tolist() == [
        [1, 3],
        [2, 4],
    ]


def _photo(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_a_folder_of_images(tmp_path: Path, model: Model) -> None:
    _photo(tmp_path / "cat" / "a.png", (255, 0, 127))
    _photo(tmp_path / "dog" / "b.png", (0, 255, 0))
    planes = model(("x", (-1, 3, 4, 4)))
    data = load_data(str(tmp_path), planes, seed=0)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1]
    np.testing.assert_allclose(data.inputs["x"][0, :, 0, 0], [1, 0, 127 / 255], rtol=1e-6)
    scaled = load_data(f"{tmp_path}?scale=1&mean=127&std=128&color=bgr", planes, seed=0)
    np.testing.assert_allclose(scaled.inputs["x"][0, :, 0, 0], [0, -127 / 128, 1], rtol=1e-6)
    last = load_data(str(tmp_path), model(("x", (1, 4, 4, 3), "uint8")), seed=0)
    assert last.inputs["x"][0, 0, 0].tolist() == [255, 0, 127]
    gray = load_data(f"{tmp_path}?resize=stretch", model(("x", (-1, 1, 6, 6))), seed=0)
    assert gray.inputs["x"].shape == (2, 1, 6, 6)


def test_folders_named_by_number_are_those_classes(tmp_path: Path, model: Model) -> None:
    for name in ("10", "2"):
        _photo(tmp_path / name / "a.png", (1, 1, 1))
    data = load_data(str(tmp_path), model(("x", (-1, 3, 4, 4)), outputs=(("y", (-1, 11)),)), seed=0)
    assert data.labels is not None
    assert data.labels.tolist() == [2, 10]


def test_a_folder_of_tensors(tmp_path: Path, model: Model) -> None:
    for name, array in (("a", np.arange(4)), ("b", np.arange(4) + 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.bin").write_bytes(array.astype("<f4").tobytes())
    data = load_data(str(tmp_path), model(("x", (-1, 4))), seed=0)
    assert data.inputs["x"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    with pytest.raises(InvalidInputError, match=r"t\.bin is no float32 tensor"):
        load_data(str(tmp_path), model(("x", (-1, 5))), seed=0)


def test_folders_that_cannot_be_used(tmp_path: Path, model: Model) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(InvalidInputError, match="holds 0 usable files"):
        load_data(str(tmp_path), model(("x", (-1, 3, 4, 4))), seed=0)
    (tmp_path / "cat" / "a.png").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"image a\.png cannot be read"):
        load_data(str(tmp_path), model(("x", (-1, 3, 4, 4))), seed=0)
    with pytest.raises(InvalidInputError, match="takes no images"):
        load_data(str(tmp_path), model(("x", (-1, 4))), seed=0)
    with pytest.raises(InvalidInputError, match="mean has 2 values for 3 channels"):
        load_data(f"{tmp_path}?mean=1,2", model(("x", (-1, 3, 4, 4))), seed=0)
    with pytest.raises(InvalidInputError, match="one input per file"):
        load_data(str(tmp_path), model(("x", (-1, 3, 4, 4)), ("z", (-1, 1))), seed=0)


def _clip(path: Path, samples: np.ndarray, rate: int = 8000, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_wav_clips_are_cut_into_windows(tmp_path: Path, model: Model) -> None:
    _clip(tmp_path / "no" / "a.wav", (np.arange(10) * 1000).astype("<i2"))
    _clip(tmp_path / "yes" / "b.wav", np.full(3, -(2**15), "<i2"))
    data = load_data(str(tmp_path), model(("x", (-1, 4))), seed=0)
    assert data.inputs["x"].shape == (3, 4)
    np.testing.assert_allclose(data.inputs["x"][1], np.arange(4, 8) * 1000 / 2**15, rtol=1e-6)
    assert data.inputs["x"][2].tolist() == [-1, -1, -1, 0]
    assert data.labels is not None
    assert data.groups is not None
    assert (data.labels.tolist(), data.groups.tolist()) == ([0, 0, 1], [0, 0, 1])


@pytest.mark.parametrize(("width", "raw"), [(1, b"\xff"), (3, b"\x00\x00\x7f"), (4, b"\x00\x00\x00\x7f")])
def test_wav_widths(tmp_path: Path, model: Model, width: int, raw: bytes) -> None:
    _clip(tmp_path / "c" / "a.wav", np.frombuffer(raw * 4, np.uint8), width=width)
    assert load_data(str(tmp_path), model(("x", (-1, 4))), seed=0).inputs["x"][0] == pytest.approx(
        [0.992] * 4, abs=1e-3
    )


def test_wav_for_a_model_with_state_and_a_constant_input(tmp_path: Path, model: Model) -> None:
    for name, count in (("a", 12), ("b", 9)):
        _clip(tmp_path / "c" / f"{name}.wav", np.arange(count).astype("<i2"))
    stateful = model(
        ("x", (-1, -1)),
        ("h", (1, -1, 2)),
        ("rate", (), "int64"),
        outputs=(("y", (-1, 1)), ("h2", (1, -1, 2))),
        state=STATE,
    )
    data = load_data(f"{tmp_path}?window=4&context=2&rate=16000", stateful, seed=0)
    assert data.inputs["x"].shape == (2, 2, 6)
    np.testing.assert_allclose(data.inputs["x"][0, 1] * 2**15, [2, 3, 4, 5, 6, 7])
    assert data.inputs["rate"].tolist() == [[16000, 16000]] * 2
    with pytest.raises(InvalidInputError, match="nothing for the input 'rate'"):
        load_data(f"{tmp_path}?window=4", stateful, seed=0)
    with pytest.raises(InvalidInputError, match="any number of samples"):
        load_data(f"{tmp_path}?rate=1", stateful, seed=0)


def test_wav_files_of_two_rates_are_refused(tmp_path: Path, model: Model) -> None:
    _clip(tmp_path / "c" / "a.wav", np.zeros(4, "<i2"))
    _clip(tmp_path / "c" / "b.wav", np.zeros(4, "<i2"), rate=16000)
    with pytest.raises(InvalidInputError, match=r"8000 Hz \(a\.wav\), 16000 Hz \(b\.wav\)"):
        load_data(str(tmp_path), model(("x", (-1, 4))), seed=0)


FUNCTIONS = """
import numpy as np
def arrays(seed):
    return {"x": np.full((3, 2), seed, np.float32), "labels": np.arange(3), "groups": None}
def fails():
    raise KeyError("lost")
def wrong():
    return [1, 2]
"""


def test_a_function_in_a_file(tmp_path: Path, model: Model) -> None:
    (tmp_path / "d.py").write_text(FUNCTIONS)
    data = load_data(f"{tmp_path}/d.py:arrays", model(("x", (-1, 2))), seed=7)
    assert data.inputs["x"][0].tolist() == [7, 7]
    for function, kind, says in (
        ("fails", InvalidInputError, "failed: KeyError: 'lost'"),
        ("wrong", InvalidInputError, "returned list"),
        ("absent", NotFoundError, "no function 'absent'"),
    ):
        with pytest.raises(kind, match=says):
            load_data(f"{tmp_path}/d.py:{function}", model(("x", (-1, 2))), seed=7)
    (tmp_path / "broken.py").write_text("1/0")
    with pytest.raises(InvalidInputError, match="cannot be imported: ZeroDivisionError"):
        load_data(f"{tmp_path}/broken.py:f", model(("x", (-1, 2))), seed=7)


def test_the_limit_keeps_a_seeded_choice(tmp_path: Path, model: Model) -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    np.savez(tmp_path / "d.npz", x=x, labels=np.arange(100) % 3, calibration_indices=np.arange(50))
    spec, takes = f"{tmp_path}/d.npz", model(("x", (-1, 1)))
    first, again, other = (load_data(spec, takes, seed=s, limit=20) for s in (1, 1, 2))
    assert len(first) == 20
    assert first.digest == again.digest != other.digest
    assert all(first.inputs["x"][i, 0] < 50 for i in first.calibration_indices)
    assert first.calibration_indices
    with pytest.raises(InvalidInputError, match="limit"):
        load_data(spec, takes, seed=1, limit=0)


def test_random_inputs(model: Model) -> None:
    takes = model(("x", (-1, 2)), ("ids", (1, 3), "int64"), ("raw", (-1, 5), "uint8"))
    data = random_inputs(takes, seed=3)
    assert {n: a.shape for n, a in data.inputs.items()} == {"x": (64, 2), "ids": (64, 3), "raw": (64, 5)}
    assert set(np.unique(data.inputs["ids"]).tolist()) == {0, 1}
    assert data.digest == random_inputs(takes, seed=3).digest != random_inputs(takes, seed=4).digest
    with pytest.raises(InvalidInputError, match="free axis besides the batch"):
        random_inputs(model(("ids", (-1, -1), "int64")), seed=0)
    stateful = model(("x", (-1, 2)), ("h", (1, -1, 2)), state=STATE)
    assert random_inputs(stateful, seed=0).inputs["x"].shape == (8, 16, 2)

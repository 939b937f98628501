from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.parity.golden import read_golden, write_golden
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError

DATA = Dataset(
    name="d", inputs={"x": np.arange(6, dtype=np.float32).reshape(3, 2), "ids": np.array([1, 2, 3])}
)
HOST = {"y": np.arange(3.0)}
ORIGINAL = {"y": np.arange(3.0) + 1e-3}


def test_a_pack_comes_back_as_it_was(tmp_path: Path) -> None:
    write_golden(tmp_path / "g.npz", DATA, HOST, ORIGINAL)
    pack = read_golden(tmp_path / "g.npz")
    assert set(pack.inputs) == {"x", "ids"}
    for found, given in ((pack.inputs, DATA.inputs), (pack.host, HOST), (pack.original, ORIGINAL)):
        for name, array in given.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_the_bytes_depend_on_nothing_but_the_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for number, now in enumerate((1_000_000_000.0, 1_700_000_000.0)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        turned = Dataset(name="other", inputs=dict(reversed(DATA.inputs.items())))
        path = tmp_path / f"{number}.npz"
        write_golden(path, turned if number else DATA, HOST, ORIGINAL)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_outputs_of_another_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="host output 'y' has 2 items, the golden data 3"):
        write_golden(tmp_path / "g.npz", DATA, {"y": np.zeros(2)}, ORIGINAL)
    with pytest.raises(InvalidInputError, match="outputs of the original reference"):
        write_golden(tmp_path / "g.npz", DATA, HOST, {})


def test_what_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_golden(tmp_path / "g.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    (tmp_path / "rubbish.npz").write_bytes(b"rubbish")
    for name in ("other", "rubbish"):
        with pytest.raises(CorruptDataError, match="not a golden pack"):
            read_golden(tmp_path / f"{name}.npz")

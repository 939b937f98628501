"""Which wheels a board can have; the index here is a directory, pip is the real one."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap.board_facts import parse_probe
from edgeloop.transport.bootstrap.wheels import board_wheels, platforms
from edgeloop_foundation.errors import UnsupportedError

PROBES = Path(__file__).parents[3] / "fixtures" / "probes"
BOARD = parse_probe((PROBES / "raspberry_pi_os_bookworm.txt").read_text())

PACKAGES = {
    "grpcio-1.80.0-cp311-cp311-manylinux_2_17_aarch64": ["typing_extensions"],
    "grpcio-1.81.0-cp311-cp311-manylinux_2_39_aarch64": [],
    "typing_extensions-4.16.0-py3-none-any": [],
    "protobuf-6.33.6-cp39-abi3-manylinux2014_aarch64": [],
    "grpcio_health_checking-1.80.0-py3-none-any": [],
    "grpcio_reflection-1.80.0-py3-none-any": [],
    "numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64": [],
    "onnxruntime-1.31.1-cp311-cp311-manylinux_2_27_aarch64": ["sympy"],
    "cryptography-50.0.2-cp311-abi3-manylinux_2_28_aarch64": [],
    "sympy-1.14.0-py3-none-any": [],
    "tuf-7.0.1-py3-none-any": ["securesystemslib"],
    "securesystemslib-1.4.0-py3-none-any": [],
}


def write_wheel(folder: Path, stem: str, needs: list[str]) -> None:
    name, version, *_ = stem.split("-")
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": b"",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {stem.split('-', 2)[2]}\n".encode(),
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {need}\n" for need in needs)
        ).encode(),
    }
    with zipfile.ZipFile(folder / f"{stem}.whl", "w") as wheel:
        rows = []
        for path, data in files.items():
            wheel.writestr(path, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(data)}\n")
        wheel.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    for stem, needs in PACKAGES.items():
        write_wheel(folder, stem, needs)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def test_platforms_are_those_of_the_boards_c_library() -> None:
    tags = platforms(BOARD)
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert "manylinux2014_aarch64" in tags
    assert "manylinux_2_37_aarch64" not in tags


@pytest.mark.parametrize(
    ("name", "advice"),
    [("raspberry_pi_os_32_bit_on_64_bit_kernel", "64-bit Raspberry Pi OS"), ("container_alpine", "Debian")],
)
def test_a_board_without_wheels_is_told_what_would_work(name: str, advice: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        platforms(parse_probe((PROBES / f"{name}.txt").read_text()))
    assert advice in caught.value.next_step


def test_the_wheels_are_those_that_the_board_can_load(index: Path, tmp_path: Path) -> None:
    wheels = board_wheels(BOARD, BOARD.python(), tmp_path / "cache")
    names = {wheel.name for wheel in wheels}
    assert "grpcio-1.80.0-cp311-cp311-manylinux_2_17_aarch64.whl" in names, "the newer one needs glibc 2.39"
    assert "typing_extensions-4.16.0-py3-none-any.whl" in names
    assert not any(name.startswith("sympy") for name in names), "a session never imports it"
    for wheel in wheels:
        assert wheel.digest == hashlib.sha256((index / wheel.name).read_bytes()).hexdigest()
    for path in index.iterdir():
        path.unlink()
    assert board_wheels(BOARD, BOARD.python(), tmp_path / "cache") == wheels, (
        "kept, the index is not asked again"
    )


def test_no_wheel_of_a_package_is_said_by_name(index: Path, tmp_path: Path) -> None:
    (index / "onnxruntime-1.31.1-cp311-cp311-manylinux_2_27_aarch64.whl").unlink()
    with pytest.raises(
        UnsupportedError, match=r"no wheel of onnxruntime.* for Python 3\.11 on manylinux_2_36"
    ):
        board_wheels(BOARD, BOARD.python(), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []

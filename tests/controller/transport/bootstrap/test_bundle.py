"""The agent as one file: the same bytes, what it needs, nothing of the controller, and it installs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap.bundle import Bundle, agent_archive, make_bundle
from edgeloop.transport.bootstrap.on_board import install
from edgeloop.transport.bootstrap.wheels import Wheel


def test_the_same_code_gives_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    first = agent_archive()
    time.sleep(0.01)
    script = (
        "from edgeloop.transport.bootstrap.bundle import agent_archive; import hashlib;"
        "print(hashlib.sha256(agent_archive()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    other = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    assert other.stdout.strip() == hashlib.sha256(first).hexdigest()


def test_it_holds_the_agent_and_nothing_of_the_controller() -> None:
    names = zipfile.ZipFile(io.BytesIO(agent_archive())).namelist()
    assert names == sorted(names)
    for wanted in (
        "edgeloop_agent/daemon.py",
        "edgeloop_agent/runner/__main__.py",
        "edgeloop_protocol/v1/job_pb2.py",
    ):
        assert wanted in names
    assert any(name.startswith("edgeloop_profiles/boards/") for name in names)
    assert not [name for name in names if name.startswith("edgeloop/") or "__pycache__" in name]


def test_the_digest_names_all_that_is_in_it() -> None:
    wheel = Wheel(name="a-1-py3-none-any.whl", digest="0" * 64, size_bytes=10, path=Path("a"))
    one = make_bundle((wheel,), python="/usr/bin/python3", system_packages=False)
    assert one == make_bundle((wheel,), python="/usr/bin/python3", system_packages=False)
    assert one.digest != make_bundle((wheel,), python="/usr/bin/python3", system_packages=True).digest
    assert one.digest != make_bundle((), python="/usr/bin/python3", system_packages=False).digest
    assert one.size_bytes == 10 + len(one.archive)


class Board:
    """A directory in which the real installer works; its packages are those of this environment."""

    def __init__(self, root: Path) -> None:
        self.root, self.incoming = root / "edgeloop", root / "incoming"

    def receive(self, bundle: Bundle) -> None:
        self.incoming.mkdir(exist_ok=True)
        for name, content, _ in bundle.files():
            data = content if isinstance(content, bytes) else content.read_bytes()
            (self.incoming / name).write_bytes(data)

    def install(self, *words: str) -> subprocess.CompletedProcess[str]:
        script = Path(install.__file__).read_bytes().decode()
        # What the wheels would bring is found in this environment: sending them is not what is looked at.
        script = script.replace(install._TRIAL, "import edgeloop_foundation.registry, edgeloop_agent")
        # Nor how long compiling takes.
        script = script.replace("compileall.compile_dir(", "(lambda *_, **__: None)(")
        command = [sys.executable, "-I", "-", words[0], str(self.root), *words[1:]]
        return subprocess.run(command, input=script, capture_output=True, text=True)

    def points_to(self, name: str) -> str:
        return os.readlink(self.root / "agent" / name)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def bundle(tmp_path: Path, version: str) -> Bundle:
    path = tmp_path / f"thing-{version}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("thing/__init__.py", f"version = {version!r}\n")
        wheel.writestr("thing-1.data/purelib/extra.py", "")
        wheel.writestr("thing-1.data/scripts/tool", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    wheels = (Wheel(name=path.name, digest=digest, size_bytes=path.stat().st_size, path=path),)
    return make_bundle(wheels, python=sys.executable, system_packages=False)


def test_install_switch_go_back_and_tidy(board: Board, tmp_path: Path) -> None:
    versions = [bundle(tmp_path, name) for name in ("1", "2", "3")]
    for one in versions:
        board.receive(one)
        done = board.install("build", str(board.incoming), one.digest)
        assert done.returncode == 0, done.stderr
        assert board.install("activate", one.digest).returncode == 0
    first, second, third = (one.digest for one in versions)
    assert (board.points_to("current"), board.points_to("previous")) == (third, second)
    python = board.root / "agent" / "current" / "bin" / "python"
    said = subprocess.run(
        [python, "-I", "-c", "import thing, extra; print(thing.version)"], capture_output=True, text=True
    )
    assert said.stdout == "3\n"
    assert not list(board.root.glob("**/tool"))
    assert board.install("tidy", str(board.incoming)).returncode == 0
    assert not (board.root / "agent" / first).exists()
    assert not board.incoming.exists()
    assert board.install("back").returncode == 0
    assert board.points_to("current") == second


def test_what_is_not_what_was_sent_is_not_installed(board: Board, tmp_path: Path) -> None:
    one = bundle(tmp_path, "1")
    board.receive(one)
    (board.incoming / one.wheels[0].digest).write_bytes(b"something else")
    done = board.install("build", str(board.incoming), one.digest)
    assert done.returncode == 1
    assert "another content than was sent" in done.stderr.splitlines()[-1]
    assert not (board.root / "agent" / one.digest).exists()
    board.receive(one)
    assert board.install("build", str(board.incoming), one.digest).returncode == 0, "sent again, it goes on"


def test_a_wheel_cannot_write_elsewhere(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("../../../outside.py", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    one = make_bundle(
        (Wheel(name="bad.whl", digest=digest, size_bytes=1, path=path),), python="p", system_packages=False
    )
    board.receive(one)
    assert "names the path" in board.install("build", str(board.incoming), one.digest).stderr
    assert not list(tmp_path.rglob("outside.py"))


def test_what_was_left_half_built_is_built_anew(board: Board, tmp_path: Path) -> None:
    one = bundle(tmp_path, "1")
    board.receive(one)
    half = board.root / "agent" / f"{one.digest}.part"
    half.mkdir(parents=True)
    (half / "rubbish").touch()
    assert board.install("build", str(board.incoming), one.digest).returncode == 0
    assert not (board.root / "agent" / one.digest / "rubbish").exists()
    assert not half.exists()


def test_the_manifest_is_canonical() -> None:
    tree = json.loads(make_bundle((), python="p", system_packages=False).manifest)
    assert sorted(tree) == ["archive", "python", "system_packages", "wheels"]

"""What edgeloop serve refuses before it begins, the verbs of the registry, and completion."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.store.serve_home import ServeHome
from edgeloop_protocol.types.artifact import Artifact, FileEntry

from .conftest import Call


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "lab.example:80"])
def test_beyond_loopback_tokens_do_not_travel_in_the_clear(call: Call, address: str) -> None:
    done = call("serve", "--listen", address)
    assert done.exit_code == 2
    assert "tokens would travel in the clear" in done.output


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_has_a_host_and_a_port(call: Call, address: str) -> None:
    done = call("serve", "--listen", address)
    assert done.exit_code == 2


def test_tls_needs_an_authority_or_both_files(call: Call, tmp_path: Path) -> None:
    assert call("serve", "--listen", "127.0.0.1:0", "--tls").exit_code == 2
    (tmp_path / "cert.pem").write_text("")
    assert "together" in call("serve", "--tls-cert", str(tmp_path / "cert.pem")).output


def test_a_second_daemon_of_a_home_is_refused(call: Call, tmp_path: Path) -> None:
    with ServeHome(tmp_path / "home").held("http://127.0.0.1:1"):
        done = call("--home", str(tmp_path / "home"), "serve", "--listen", "127.0.0.1:0")
    assert done.exit_code == 2
    assert "another edgeloop serve works on" in done.output
    assert "http://127.0.0.1:1" in done.output


def kept(home: Path, label: str) -> str:
    content = label.encode()
    entry = FileEntry(name="model.onnx", digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    (home / "model.onnx").write_bytes(content)
    manifest = Artifact(
        format="onnx", label=label, files=(entry,), model_file="model.onnx", source_digest="5" * 64
    )
    with App.open(home) as app:
        return app.artifacts.put(manifest, {"model.onnx": home / "model.onnx"})


def test_artifacts_are_tagged_and_found_by_tag(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first, second = kept(home, "original"), kept(home, "int8")
    words = ("--home", str(home), "model")
    assert call(*words, "tag", first[:10], "prod").output == f"prod is {first}\n"
    assert call(*words, "tag", "prod", "golden").output == f"golden is {first}\n"
    shown = call(*words, "show", "prod", "--json").output
    versions = json.loads(shown)["versions"]
    assert [(v["digest"], v["number"], v.get("tags", [])) for v in versions] == [
        (first, 1, ["golden", "prod"]),
        (second, 2, []),
    ]
    assert len(json.loads(call(*words, "list", "--json").output)["models"]) == 1
    assert call(*words, "untag", "prod").exit_code == 0
    assert call(*words, "show", "prod").exit_code == 2
    assert call(*words, "tag", "none", "prod").exit_code == 2
    assert call("--home", str(home), "audit", "verify").exit_code == 0


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef edgeloop"), ("fish", "complete")]
)
def test_completion_is_printed(call: Call, shell: str, word: str) -> None:
    done = call("completion", shell)
    assert done.exit_code == 0
    assert word in done.output

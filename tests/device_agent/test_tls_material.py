"""TLS files that somebody else renews."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.tls_material import WatchedFiles
from edgeloop_foundation.errors import InvalidInputError

PEM = "-----BEGIN X-----\n{}\n-----END X-----\n"


def test_a_change_is_seen_and_a_broken_file_keeps_the_last_whole_state(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "client_ca")}
    for name, path in paths.items():
        path.write_text(PEM.format(name))
    files = WatchedFiles(**paths)
    first = files()
    assert files() is first
    new = tmp_path / "new"
    new.write_text(PEM.format("renewed"))
    new.replace(paths["certificate"])
    assert b"renewed" in files().chain
    renewed = files()
    paths["key"].write_text("nothing")
    assert files() is renewed
    paths["key"].unlink()
    assert files() is renewed


def test_files_that_never_were_whole_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    files = WatchedFiles(certificate=path, key=path, client_ca=path)
    with pytest.raises(InvalidInputError, match=r"cannot read .*a.pem"):
        files()
    path.write_text("nothing")
    with pytest.raises(InvalidInputError, match="not a PEM"):
        files()

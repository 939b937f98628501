"""Addresses and SSH configurations to hops."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.transport.ssh_link.route import parse_address, resolve_route
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pi@host", ("pi", "host", None)),
        ("host", ("", "host", None)),
        ("pi@192.0.2.7:2222", ("pi", "192.0.2.7", 2222)),
        ("pi@[2001:db8::7]:22", ("pi", "2001:db8::7", 22)),
        ("first.last@corp.example.org", ("first.last", "corp.example.org", None)),
    ],
)
def test_addresses(text: str, parts: tuple[str, str, int | None]) -> None:
    assert parse_address(text) == parts


@pytest.mark.parametrize(
    "text", ["", "pi@", "pi@host:", "pi@host:0", "pi@host:99999", "a b", "-oProxyCommand=x", "pi@h/x"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not an SSH address"):
        parse_address(text)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config"
    path.write_text(text)
    return path


def test_the_configuration_is_honoured_and_the_address_wins(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.touch()
    file = config(
        tmp_path,
        f"Host pi\n HostName 192.0.2.7\n Port 2200\n User pat\n IdentityFile {key}\n IdentitiesOnly yes\n",
    )
    (hop,) = resolve_route("pi", config_file=file)
    assert (hop.host, hop.port, hop.user, hop.key_files, hop.only_named_keys) == (
        "192.0.2.7",
        2200,
        "pat",
        (str(key),),
        True,
    )
    (hop,) = resolve_route("kim@pi:22", config_file=file)
    assert (hop.port, hop.user) == (22, "kim")


def test_jump_hosts_come_first_in_order(tmp_path: Path) -> None:
    file = config(tmp_path, "Host board\n ProxyJump a@one,b@two:222\nHost two\n HostName 192.0.2.2\n")
    hops = resolve_route("pi@board", config_file=file)
    assert [hop.label for hop in hops] == ["a@one", "b@192.0.2.2:222", "pi@board"]
    assert [hop.label for hop in resolve_route("pi@board", jump="x@y", config_file=file)] == [
        "x@y",
        "pi@board",
    ]


def test_a_circle_of_jump_hosts_ends(tmp_path: Path) -> None:
    file = config(tmp_path, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(InvalidInputError, match="circle"):
        resolve_route("a", config_file=file)


@pytest.mark.parametrize(
    "setting",
    [
        "ProxyCommand nc %h %p",
        "HostKeyAlias other",
        "PKCS11Provider /lib/x.so",
        "CertificateFile ~/x-cert.pub",
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(setting: str, tmp_path: Path) -> None:
    file = config(tmp_path, f"Host pi\n {setting}\n")
    with pytest.raises(UnsupportedError, match=setting.split()[0].lower()):
        resolve_route("pi", config_file=file)
    assert resolve_route("other", config_file=file)


def test_included_files_count_and_a_conditional_include_is_refused(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("Host pi\n User pat\n")
    file = config(tmp_path, "Include *.conf\nHost *\n Port 2200\n")
    (hop,) = resolve_route("pi", config_file=file)
    assert (hop.user, hop.port) == ("pat", 2200)
    (tmp_path / "config").write_text("Host pi\n Include *.conf\n")
    with pytest.raises(UnsupportedError, match="Include"):
        resolve_route("pi", config_file=file)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        resolve_route("pi", key=str(tmp_path / "none"), config_file=tmp_path / "absent")

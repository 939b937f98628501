"""``edgeloop device add|upgrade|remove`` and names of added devices, from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.devices import DeviceBook

from .conftest import Call


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("add", "not an address"), "Write USER@HOST", 2),
        (("add", "pi@host", "--host-key", "MD5:0"), "is not a fingerprint", 2),
        (("add", "pi@host", "--key", "none"), "does not exist", 2),
        (("add", "pi@127.0.0.1:1"), "cannot be reached", 3),
        (("upgrade", "pi"), "no device 'pi' was added; there are none", 2),
        (("remove", "pi"), "no device 'pi' was added; there are none", 2),
    ],
)
def test_each_mistake_is_one_sentence(call: Call, words: tuple[str, ...], said: str, status: int) -> None:
    result = call("device", *words)
    assert result.exit_code == status
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not Path(".edgeloop/devices.toml").exists()


def test_added_devices_are_listed_and_the_configuration_wins(call: Call) -> None:
    book = DeviceBook(Path(".edgeloop"))
    book.put(DeviceSpec(name="pi", transport="ssh", address="pi@192.0.2.7"))
    book.put(DeviceSpec(name="nano", transport="ssh", address="pi@192.0.2.8"))
    Path("edgeloop.toml").write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\n[devices]\nnano = "sim:raspberry_pi_5"\n'
    )
    result = call("device", "list")
    rows = [line.split()[:4] for line in result.output.splitlines()]
    assert ["pi", "ssh", "pi@192.0.2.7", "measured"] in rows
    assert ["nano", "simulated", "raspberry_pi_5", "simulated"] in rows

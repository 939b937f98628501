"""The text forms of emulated resources."""

from __future__ import annotations

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.emulation import Emulation


def test_text_forms_are_read_and_said() -> None:
    found = Emulation.parse("512MiB", "1", "0.5")
    assert found == Emulation(memory_bytes=512 << 20, processor_count=1, compute_fraction=0.5)
    assert found.text == "memory 512 MiB, 1 processor, compute 0.5"
    assert Emulation.parse("", "", "1") is None


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (("512", "", ""), "memory"),
        (("1MiB", "", ""), "memory"),
        (("", "0.5", ""), "cpus"),
        (("", "", "2"), "compute"),
    ],
)
def test_others_are_refused_with_the_field(texts: tuple[str, str, str], named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{named} is"):
        Emulation.parse(*texts)

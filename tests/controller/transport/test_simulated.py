"""Simulated boards: the real agent, told what to simulate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport.base import connect
from edgeloop_foundation.errors import InvalidInputError, NotFoundError


async def test_the_board_says_that_it_is_simulated_and_after_what(tmp_path: Path) -> None:
    async with connect(DeviceSpec.parse("pi=sim:raspberry_pi_5"), tmp_path, seed=3) as client:
        facts = await client.describe()
    assert facts.simulated
    assert (facts.name, facts.profile) == ("pi", "raspberry_pi_5")
    assert facts.hardware.architecture == "aarch64"
    assert len(facts.profile_digest) == 64


async def test_the_same_name_with_another_profile_is_another_board(tmp_path: Path) -> None:
    seen = set()
    for profile in ("raspberry_pi_4", "raspberry_pi_5"):
        async with connect(DeviceSpec.parse(f"pi=sim:{profile}"), tmp_path) as client:
            seen.add((await client.describe()).device_id)
    assert len(seen) == 2


async def test_an_unknown_profile_is_wrong_input_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="commodore_64"):
        await connect(DeviceSpec.parse("sim:commodore_64"), tmp_path).open()


@pytest.mark.parametrize(("address", "seed"), [("raspberry_pi_5", "many"), ("", "1")])
async def test_a_board_without_profile_or_with_a_seed_that_is_no_number(
    tmp_path: Path, address: str, seed: str
) -> None:
    spec = DeviceSpec(name="pi", transport="simulated", address=address, options=(("seed", seed),))
    with pytest.raises(InvalidInputError, match=r"seed is a whole number|names no profile"):
        await connect(spec, tmp_path).open()


async def test_numerics_that_are_neither_the_boards_nor_the_hosts_are_refused(tmp_path: Path) -> None:
    options = (("numerics", "exact"),)
    spec = DeviceSpec(name="pi", transport="simulated", address="raspberry_pi_5", options=options)
    with pytest.raises(InvalidInputError, match="numerics is 'exact'; allowed are isa and host"):
        await connect(spec, tmp_path).open()


@pytest.mark.parametrize(("name", "value"), [("pace", "fast"), ("pace", "0"), ("link_mbit", "-1")])
async def test_a_pace_or_a_link_that_is_no_number_above_zero_is_refused(
    tmp_path: Path, name: str, value: str
) -> None:
    spec = DeviceSpec(name="pi", transport="simulated", address="nuc11", options=((name, value),))
    with pytest.raises(InvalidInputError, match=f"{name} is a number above 0, not '{value}'"):
        await connect(spec, tmp_path).open()


def test_a_board_that_keeps_to_the_wall_clock_takes_no_turn_of_the_processors() -> None:
    spec = DeviceSpec.parse("sim:raspberry_pi_4")
    assert spec.on_this_machine
    assert not replace(spec, options=(("pace", "1"),)).on_this_machine

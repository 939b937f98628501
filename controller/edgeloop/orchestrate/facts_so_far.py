"""What is known of devices when candidates are chosen; of one that is slow to answer, what it told last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, UnavailableError
from edgeloop_protocol.types.facts import Facts

from edgeloop.domain.experiment import ExperimentRequest, Listener
from edgeloop.orchestrate.fleet import Fleet, Opening
from edgeloop.store.known_facts import KnownFactsStore

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["facts_so_far", "note_unreached"]

# After the first device, others have as long to tell of themselves before candidates are chosen; those that are hung
# take longer to be given up, and a bad link needs more than that for a first answer.
_OTHERS_S = 3.0


async def facts_so_far(
    app: App, devices: Opening, request: ExperimentRequest, listener: Listener
) -> tuple[Facts, ...]:
    """Return what is known of the devices when candidates are chosen; one that is slow to answer is not waited for.

    What it told last stands for it then.

    Raises:
        UnavailableError: none can be reached.
    """
    await devices.first(_OTHERS_S)
    answered = devices.answered()
    _report_fleet(answered, listener)
    if not devices.pending() and all(isinstance(device, EdgeloopError) for _, device in answered):
        first = next(str(device) for _, device in answered)
        raise UnavailableError(f"none of the {len(answered)} devices can be reached: {first}")
    known = [device.facts for _, device in answered if not isinstance(device, EdgeloopError)]
    for spec in devices.pending():
        last = await asyncio.to_thread(KnownFactsStore(app.state_directory).get, spec)
        chosen = "" if request.recipes else ", and candidates are chosen without it"
        if last is not None:
            known.append(last.facts)
            chosen = "" if request.recipes else ", and candidates are chosen by what it told last"
        listener.note(f"{spec.name} has not answered yet; it is measured once it does{chosen}.")
    return tuple(known)


def _report_fleet(fleet: Fleet, listener: Listener) -> None:
    for spec, device in fleet:
        if isinstance(device, EdgeloopError):
            continue  # said when it would have been measured
        kind = "simulated, predicted figures" if device.facts.simulated else "real"
        if device.facts.emulation is not None:
            kind = f"measured under emulated resources: {device.facts.emulation.text}"
        hardware = device.facts.hardware
        listener.note(f"{spec.name}: {hardware.cpu_model or hardware.architecture}, {kind}")


def note_unreached(answered: Fleet, listener: Listener) -> None:
    """Say which devices cannot be reached, where nothing is going to be measured on them."""
    for spec, device in answered:
        if isinstance(device, EdgeloopError):
            listener.note(f"{spec.name}: {device}")

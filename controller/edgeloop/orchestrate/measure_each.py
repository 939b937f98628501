"""Measures on many devices, each as soon as it is open, with the artifact in the forms that its own runtimes open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device
from edgeloop.orchestrate.runtimes import forms_of

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["Each", "Form", "measure_each"]

Form = tuple[str, str, str]
"""Digest of an artifact, runtime, digest of its form for that runtime."""

Work = Callable[[DeviceSpec, OpenDevice | EdgeloopError], Awaitable[DeviceResult]]

Each = Callable[[Work], Awaitable[tuple[DeviceResult, ...]]]
"""Does a piece of work on every device, as ``open_each`` does."""


async def measure_each(
    app: App,
    each: Each,
    request: MeasureRequest,
    listener: Listener,
    *,
    alone: bool,
    then: Callable[[OpenDevice, MeasureRequest], Awaitable[None]] | None = None,
) -> tuple[tuple[DeviceResult, ...], tuple[Form, ...]]:
    """Measure on every device and return the results, and the forms that were made for some of them.

    Args:
        alone: whether there is one device only, whose answer to an unknown runtime is the answer.
        then: what follows on a device whose measurement did not break off.

    Raises:
        InvalidInputError: no device knows the runtimes.
    """
    found = _Forms(app, request, listener, alone=alone)
    mistakes: list[InvalidInputError] = []

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> DeviceResult:
        if isinstance(device, EdgeloopError):
            listener.note(f"{spec.name}: {device}")
            return DeviceResult(device=spec, error=str(device))
        try:
            own = replace(request, forms=await found.of(spec, device))
        except InvalidInputError as error:
            mistakes.append(error)
            return DeviceResult(device=spec, facts=device.facts, error=str(error))
        result = await measure_device(app, device, own, listener)
        # A device that broke off is not asked again.
        if then is not None and not result.error:
            await then(device, own)
        return result

    measured = await each(one)
    if mistakes and not any(device.runs for device in measured):
        raise mistakes[0]
    return measured, found.all


class _Forms:
    """The forms that devices need, each made once, whichever device needs it first."""

    def __init__(self, app: App, request: MeasureRequest, listener: Listener, *, alone: bool) -> None:
        self._app, self._request, self._listener = app, request, listener
        self._alone = alone
        self._turn = asyncio.Lock()
        self._found: dict[tuple[str, str], str] = {}

    @property
    def all(self) -> tuple[tuple[str, str, str], ...]:
        """Artifact, runtime and form, as far as a device needed one."""
        return tuple((digest, runtime, form) for (digest, runtime), form in self._found.items())

    async def of(self, spec: DeviceSpec, device: OpenDevice) -> tuple[tuple[str, str, str], ...]:
        """Return the forms for one device.

        Raises:
            InvalidInputError: it knows none of the runtimes, or not all of them where it is the only device.
        """
        request = self._request
        asked = (request.settings, *request.variants)
        names = {runtime.name for runtime in device.facts.runtimes}
        # What only another device knows fails on this one as a run with its reason, and not the others with it.
        here = asked if self._alone else tuple(each for each in asked if each.runtime in names) or asked
        async with self._turn:
            digests = [digest for _, digest in request.artifacts]
            settings = [
                each for each in here if not all((digest, each.runtime) in self._found for digest in digests)
            ]
            made = await forms_of(self._app, ((spec, device),), digests, settings, self._listener)
            self._found.update({(digest, runtime): form for digest, runtime, form in made})
        return self.all

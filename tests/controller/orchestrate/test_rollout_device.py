"""What a rollout does to one device is saved before it is done: over the real services, in virtual time."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutDevice
from edgeloop.domain.rollout_plan import RolloutPlan
from edgeloop.orchestrate.rollout_device import DeviceWork

from scripts.heavy.loop_controller import Release, SimulatedApp
from scripts.heavy.loop_device import NAME, Device
from scripts.heavy.loop_simulation import Ground
from scripts.heavy.loop_time import VirtualLoop, repeatable
from scripts.heavy.loop_wire import Weather


async def brought(
    app: SimulatedApp, device: Device, release: Release
) -> tuple[RolloutDevice, list[tuple[str, int]]]:
    """Bring a release; return how the device stands, and what was saved, with the counter that the device had then."""
    device.asked.add(release.slot)
    one = RolloutDevice(spec=DeviceSpec(name=device.name, transport="ssh", address="x"), wave=0)
    rollout = Rollout(
        rollout_id="first", plan=RolloutPlan(release=NAME, trial_s=0.0), artifact_digest=release.digest,
        counter=release.counter, devices=(one,), started_wall_s=1.0, since_wall_s=1.0,
    )  # fmt: skip
    saved: list[tuple[str, int]] = []

    async def keep(changed: RolloutDevice) -> None:
        saved.append((changed.phase.value, device.endpoint.counter))

    work = DeviceWork(app=app, rollout=rollout, listener=SilentListener(), bundle=release.bundle)
    return await work.bring(one, keep, simulated_evidence=False), saved


def test_a_device_is_known_to_be_under_way_before_it_is_touched(tmp_path: Path) -> None:
    ground = Ground.make(tmp_path / "release")
    loop = VirtualLoop(random.Random(1))
    app: SimulatedApp = SimulatedApp.open(tmp_path / "home")  # type: ignore[assignment]
    for manifest, files in ground.artifacts:
        paths = {name: tmp_path / f"{manifest.files[0].digest}-{name}" for name in files}
        for name, data in files.items():
            paths[name].write_bytes(data)
        app.artifacts.put(manifest, paths)

    async def story() -> None:
        device = Device(loop, "pi", "story", Weather(random.Random(1), 0.0), ground.wall_s)
        device.load(ground.blobs)
        device.calm, app.devices = True, {"pi": device}
        living = asyncio.create_task(device.live())
        await asyncio.sleep(1.0)
        for release in ground.releases[:2]:
            done, saved = await brought(app, device, release)
            assert done.phase is DevicePhase.SERVING, done.reason
            assert saved == [("installing", release.counter - 1)]
            assert device.serving() == release.slot
        living.cancel()

    with repeatable(loop, random.Random(2)):
        try:
            loop.run_until_complete(story())
        finally:
            loop.bury()
            app.close()
            loop.close()

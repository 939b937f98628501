"""Whatever clients do, the desk of leases does what a model of thirty lines says, step by step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from edgeloop_agent.leases import Leases
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.lease import Lease, LeaseState
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from .conftest import until
from .test_leases import ROOT, Desk, final, request


@dataclass
class Client:
    """One who asked; times in whole seconds."""

    name: str
    shared: bool
    priority: int
    ttl_s: int
    #: End of the wait, or of the lease once it is granted.
    until_s: int


@dataclass
class Model:
    """What should be: who is inside, who waits in which order."""

    now_s: int = 0
    inside: list[Client] = field(default_factory=list)
    queue: list[Client] = field(default_factory=list)
    drained: bool = False

    def settle(self) -> None:
        self.inside = [one for one in self.inside if one.until_s > self.now_s]
        if self.drained:
            self.queue = []
        while self.queue and self.admits(self.queue[0]):
            first = self.queue.pop(0)
            first.until_s = self.now_s + first.ttl_s
            self.inside.append(first)
        self.queue = [one for one in self.queue if one.until_s > self.now_s]

    def admits(self, client: Client) -> bool:
        return not self.inside or (client.shared and all(one.shared for one in self.inside))

    def ask(self, client: Client) -> None:
        behind = [one for one in self.queue if one.priority < client.priority]
        self.queue.insert(len(self.queue) - len(behind), client)

    @property
    def view(self) -> list[tuple[str, bool, str, float]]:
        left = [(one.name, one.shared, "granted", float(one.until_s - self.now_s)) for one in self.inside]
        return [*left, *((one.name, one.shared, "queued", 0.0) for one in self.queue)]


def seen(leases: Leases) -> list[tuple[str, bool, str, float]]:
    return [
        (lease.holder, lease.shared, lease.state.value, round(lease.expires_in_s, 6))
        for lease in leases.listing()
    ]


@dataclass
class World:
    """The real desk beside the model."""

    desk: Desk
    model: Model = field(default_factory=Model)
    tasks: dict[str, asyncio.Task[Lease]] = field(default_factory=dict)
    token: int = 0
    count: int = 0
    boot_count: int = 1
    kinds: set[str] = field(default_factory=set)

    async def agree(self) -> None:
        self.model.settle()
        await until(lambda: seen(self.desk.leases) == self.model.view, 20.0)
        inside = [one for one in self.desk.leases.listing() if one.state is LeaseState.GRANTED]
        new = sorted(one.fencing_token for one in inside if one.fencing_token > self.token)
        # Tokens never come twice, whichever kind they belong to.
        assert len({one.fencing_token for one in inside}) == len(inside)
        self.token = max([self.token, *new])
        self.kinds |= {"several shared" if len(inside) > 1 else one.kind for one in inside}

    async def ask(self, shared: bool, priority: int, ttl_s: int, wait_s: int) -> None:
        self.count += 1
        name = f"c{self.count}"
        wanted = request(name, ttl_s=ttl_s, wait_s=wait_s, priority=priority, shared=shared)
        self.model.ask(Client(name, shared, priority, ttl_s, self.model.now_s + wait_s))
        self.tasks[name] = asyncio.create_task(final(self.desk.leases, wanted))
        self.model.settle()
        known = {one.name for one in [*self.model.inside, *self.model.queue]}
        if name not in known:
            assert (await self.tasks.pop(name)).state is LeaseState.REFUSED

    def _inside(self, index: int) -> Lease | None:
        held = [one for one in self.desk.leases.listing() if one.state is LeaseState.GRANTED]
        return held[index % len(held)] if held else None

    async def give_back(self, index: int) -> None:
        if (lease := self._inside(index)) is not None:
            await self.desk.leases.release(lease.lease_id, lease.fencing_token)
            self.model.inside = [one for one in self.model.inside if one.name != lease.holder]

    async def renew(self, index: int) -> None:
        if (lease := self._inside(index)) is not None:
            await self.desk.leases.renew(lease.lease_id, lease.fencing_token)
            one = next(one for one in self.model.inside if one.name == lease.holder)
            one.until_s = self.model.now_s + one.ttl_s

    async def leave(self, index: int) -> None:
        if self.model.queue:
            one = self.model.queue.pop(index % len(self.model.queue))
            await self._cancel([self.tasks.pop(one.name)])

    async def advance(self, seconds: int) -> None:
        """Let time pass, but never past a moment at which something is due."""
        due = [one.until_s - self.model.now_s for one in [*self.model.inside, *self.model.queue]]
        step = min([seconds, *due])
        self.model.now_s += step
        await self.desk.clock.advance(step)

    async def drain(self, index: int) -> None:
        self.model.drained = index % 2 == 0
        await (self.desk.leases.drain("fan", "anna") if self.model.drained else self.desk.leases.undrain())

    async def restart(self, index: int) -> None:
        await self._cancel(list(self.tasks.values()))
        self.tasks, self.model.queue = {}, []
        self.boot_count += index % 2
        await self.desk.restart(f"boot-{self.boot_count}")
        for one in self.model.inside if index % 2 else ():
            one.until_s = self.model.now_s + one.ttl_s

    async def close(self) -> None:
        await self._cancel(list(self.tasks.values()))
        await self.desk.stop()

    @staticmethod
    async def _cancel(tasks: list[asyncio.Task[Lease]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


ASK = st.tuples(
    st.just("ask"), st.booleans(), st.sampled_from((0, 0, 0, -3, 5)), st.sampled_from((3, 10, 40)),
    st.sampled_from((0, 5, 60, 60)),
)  # fmt: skip
OTHER = st.tuples(
    st.sampled_from(("give_back", "give_back", "renew", "leave", "drain", "restart")), st.integers(0, 7)
)
TIME = st.tuples(st.just("advance"), st.sampled_from((1, 4, 20)))


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(ASK, ASK, ASK, OTHER, TIME), min_size=5, max_size=25))
def test_the_desk_does_what_the_model_says(steps: list[tuple[str, int]]) -> None:
    async def story() -> set[str]:
        world = World(Desk(SimulatedFileSystem(), ROOT))
        try:
            for action, *values in steps:
                await getattr(world, action)(*values)
                await world.agree()
        finally:
            await world.close()
        return world.kinds

    for kind in asyncio.run(story()):
        event(f"seen inside: {kind}")

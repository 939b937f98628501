"""What a serving process does once it is confined: listeners, versions, forms, shadow, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.addresses import is_loopback
from edgeloop_foundation.errors import EdgeloopError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.isolation_tier import reaches
from edgeloop_protocol.types.outcome import Isolation
from edgeloop_protocol.types.serving import ServingSpec, SwitchRule

from edgeloop_agent.containment import STEP_S_MAX
from edgeloop_agent.identity_files import DIRECTORY, IdentityFiles
from edgeloop_agent.listen import LoopbackListener, TlsListener, split_address
from edgeloop_agent.serving.admission import Admission
from edgeloop_agent.serving.engine import Engine
from edgeloop_agent.serving.forms import Forms, Gate, signal_of
from edgeloop_agent.serving.grpc_service import GrpcListener
from edgeloop_agent.serving.model import LoadedSlot, ServedModel, load_slot, warm, watch
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.serving.rest import HttpListener
from edgeloop_agent.serving.shadow import Shadow, ShadowModel
from edgeloop_agent.serving.steps import Steps
from edgeloop_agent.serving.versions import Versions
from edgeloop_agent.slots import Slot, SlotFiles

__all__ = ["Ask", "Tell", "Ways", "serve"]

_GRACE_S = 10.0
_TRUST_EVERY_S = 1.0

_log = logging.getLogger(__name__)

Ask = Callable[[], Mapping[str, Any] | None]
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a serving process hears from its agent, answers it, and shuts itself in."""

    #: Returns the next frame; None at the end of input.
    ask: Ask
    #: Sends a frame.
    tell: Tell
    #: Closes the sandbox around every thread and says how far.
    close: Callable[[], Isolation]


class Opener:
    """Opens versions within what was signed for them, and tells the agent before and after."""

    def __init__(self, files: SlotFiles, tell: Tell) -> None:
        self._files, self.tell = files, tell
        self._isolation, self._tasks_bounded = Isolation(tier="process"), False
        #: Digests that are opened no more.
        self.closed: frozenset[str] = frozenset()
        self.steps = Steps()

    def hear(self, go: Mapping[str, Any], isolation: Isolation) -> None:
        """Take in what the agent says before the first version is opened."""
        self._isolation, self._tasks_bounded = isolation, bool(go.get("tasks_bounded"))
        self.closed = frozenset(go.get("closed", ()))

    def open(self, name: str, slot: str, spec: ServingSpec) -> tuple[LoadedSlot, ServedModel]:
        """Open and warm a slot.

        Raises:
            EdgeloopError: it is not what was signed, does not open here, or may not.
        """
        self._check(name, slot)
        limits, digest = self._files.limits(name, slot), Slot.parse(slot).digest
        limit_s = float(limits.step_s_max or STEP_S_MAX)
        self.tell({"event": "opening", "digest": digest})
        opened = ""
        try:
            what = f"opening release {Slot.parse(slot).counter} of {name} takes longer than {limit_s:.0f} s"
            with self.steps.step(limit_s, what):
                version = load_slot(self._files, name, slot, spec.threads, self.steps)
                model = warm(version, spec)
            opened = digest
        finally:
            self.tell({"event": "opened", "name": name, "digest": opened})
        return version, model

    def _check(self, name: str, slot: str) -> None:
        limits, digest = self._files.limits(name, slot), Slot.parse(slot).digest
        if digest in self.closed:
            raise StateError(f"artifact {digest[:12]} is in quarantine on this device.")
        if limits.isolation and not reaches(self._isolation.tier, limits.isolation):
            raise StateError(
                f"it is signed to be opened in the isolation {limits.isolation} at least, and this process is in "
                f"{self._isolation.tier}."
            )
        if limits.process_count_max and not self._tasks_bounded:
            raise StateError(
                f"at most {limits.process_count_max} threads and processes are signed, and nothing bounds them here."
            )


def serve(state: Path, spec: ServingSpec, log: RequestLog, ways: Ways) -> None:
    """Serve until the agent's frames end.

    Args:
        state: the agent's state directory.
        spec: what to serve, and how.
        log: takes a line per request.
        ways: to the agent, and into the sandbox.

    Raises:
        EdgeloopError: it cannot listen as asked.
    """
    tell = ways.tell
    files = SlotFiles(OsFileSystem(), state / "deployments")
    admission = Admission(IdentityFiles(OsFileSystem(), state / DIRECTORY))
    opener = Opener(files, tell)
    engine: Engine

    def load(slot: str) -> ServedModel:
        version, model = opener.open(spec.name, slot, spec)
        if spec.drift:
            model.watch = watch(files, spec.name, version)
        engine.took_over(model)
        return model

    versions: Versions[ServedModel] = Versions(files, spec.name, load, lambda: tell(_status(engine)))
    engine = Engine(spec, versions, log)
    if spec.shadow:
        engine.shadow = _shadow(files, spec, engine, opener)
    if spec.second:
        engine.forms = _forms(files, spec, engine, opener)
    over_grpc, over_http = _listen(engine, admission)
    isolation = ways.close()
    addresses = {"grpc": over_grpc.address, "http": over_http.address}
    tell({"event": "listening", **addresses, "isolation": to_json(isolation)})
    go = ways.ask()
    if go is None:
        return
    opener.hear(go, isolation)
    ends = threading.Event()
    threading.Thread(target=opener.steps.watch, args=(tell, ends), name="steps", daemon=True).start()
    over_grpc.start()
    over_http.start()
    versions.look()
    versions.start()
    if engine.forms is not None:
        engine.forms.start()
    if engine.shadow is not None:
        engine.shadow.start()
    threading.Thread(target=_keep_trust, args=(admission, ends), daemon=True).start()
    while (asked := ways.ask()) is not None:
        if "closed" in asked:
            opener.closed = frozenset(asked["closed"])
        if asked.get("ask") == "counts":
            tell({"event": "counts", "counts": to_json(engine.telemetry())})
    ends.set()
    versions.stop()
    if engine.forms is not None:
        engine.forms.stop()
    # New requests are refused while the old ones end, on both listeners.
    closed = engine.close(_GRACE_S)
    over_http.stop()
    over_grpc.stop(_GRACE_S if closed else 0.0)


def _shadow(files: SlotFiles, spec: ServingSpec, engine: Engine, opener: Opener) -> Shadow:
    """Try the committed version of another deployment on copies of what is asked."""

    def load(slot: str) -> ShadowModel:
        version, model = opener.open(spec.shadow, slot, replace(spec, batch_max=1))
        return ShadowModel(model=model, artifact=version.artifact)

    candidates: Versions[ShadowModel] = Versions(files, spec.shadow, load, lambda: None)
    return Shadow(spec.shadow, candidates, engine.judged)


def _forms(files: SlotFiles, spec: ServingSpec, engine: Engine, opener: Opener) -> Forms:
    """Keep the committed version of another deployment loaded, and let it answer by the rule."""

    def load(slot: str) -> ServedModel:
        return opener.open(spec.second, slot, spec)[1]

    def changed() -> None:
        opener.tell(_status(engine))

    def told(switched: bool) -> None:
        if switched and (answers := engine.active) is not None:
            engine.took_over(answers)
        changed()

    rule = SwitchRule.parse(spec.switch)
    return Forms(
        Versions(files, spec.second, load, changed),
        lambda: engine.versions.current,
        Gate(rule),
        signal_of(rule, lambda: engine.waiting),
        told,
    )


def _status(engine: Engine) -> dict[str, Any]:
    model, versions, forms = engine.active, engine.versions, engine.forms
    if model is None:
        return {"event": "model", "counter": 0, "digest": "", "batch_limit": 0, "reason": versions.refused}
    second = forms is not None and forms.chosen is not None
    return {
        "event": "model",
        "counter": model.slot.counter,
        "digest": model.slot.digest,
        "batch_limit": model.batch_limit,
        "form": engine.spec.second if second else engine.spec.name,
        "reason": versions.refused
        or ("" if forms is None else forms.reason)
        or (f"no batching: {model.unbatched}" if model.unbatched else ""),
    }


def _listen(engine: Engine, admission: Admission) -> tuple[GrpcListener, HttpListener]:
    """Bind both listeners.

    Raises:
        EdgeloopError: an address is beyond loopback and the device not enrolled, or the system refuses.
    """
    (host, port), (http_host, _) = map(split_address, (engine.spec.grpc_address, engine.spec.http_address))
    plain, http_plain = is_loopback(host), is_loopback(http_host)
    if not (plain and http_plain):
        admission.material()
        admission.refresh()
    listener = (
        LoopbackListener(host=host, port=port)
        if plain
        else TlsListener(host=host, port=port, material=admission.material)
    )
    over_grpc = GrpcListener(engine, admission, listener, plain=plain)
    return over_grpc, HttpListener(engine, admission, engine.spec.http_address, plain=http_plain)


def _keep_trust(admission: Admission, ends: threading.Event) -> None:
    """Follow the trust list, so that a revoked key is refused within a second."""
    last = ""
    while not ends.wait(_TRUST_EVERY_S):
        if not admission.needed:
            return
        try:
            admission.refresh()
            last = ""
        except EdgeloopError as error:
            if str(error) != last:
                _log.warning("the trust list cannot be read; the last one stays in force: %s", error)
            last = str(error)

"""Entry of a serving process: one frame says what to serve, and its events go back as frames.

It ends when its standard input does, with its agent that is: requests under way are answered first.

Exit status: 0 stopped as asked, 1 it failed, 2 it cannot serve what it was asked for.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.serving import ServingSpec, SwitchRule

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.identity_files import DIRECTORY, IdentityFiles
from edgeloop_agent.listen import LoopbackListener, TlsListener, is_loopback, split_address
from edgeloop_agent.serving.admission import Admission
from edgeloop_agent.serving.engine import Engine
from edgeloop_agent.serving.forms import Forms, Gate, signal_of
from edgeloop_agent.serving.grpc_service import GrpcListener
from edgeloop_agent.serving.model import ServedModel, load_slot, warm, watch
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.serving.rest import HttpListener
from edgeloop_agent.serving.shadow import Shadow, ShadowModel
from edgeloop_agent.serving.versions import Versions
from edgeloop_agent.slots import SlotFiles
from edgeloop_agent.telemetry.request_log import DIRECTORY as LOG_DIRECTORY

_GRACE_S = 10.0
_TRUST_EVERY_S = 1.0
_SWITCH_S = 0.5e-3

_log = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any]], None]


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="edgeloop_agent.serving", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the agent's state directory")
    arguments = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # A thread whose run ended waits so long for one that encodes; the default of 5 ms is longer than many models run.
    sys.setswitchinterval(_SWITCH_S)
    source, sink = _take_streams()
    lock = threading.Lock()

    def tell(event: dict[str, Any]) -> None:
        with lock:
            sink.write(encode_frame(event))
            sink.flush()

    try:
        header = _read(source)
        if header is None:
            return 0
        _serve(arguments.state, from_json(header.get("spec"), ServingSpec), source, tell)
    except BrokenPipeError:
        return 1
    except EdgeloopError as error:
        tell({"event": "refused", "reason": str(error)})
        return 2
    return 0


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move the frames away from descriptors 0 and 1, where native libraries print."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def _read(source: BinaryIO) -> dict[str, Any] | None:
    prefix = source.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_bytes, _ = decode_prefix(prefix)
    return decode_header(source.read(header_bytes))


def _serve(state: Path, spec: ServingSpec, source: BinaryIO, tell: Tell) -> None:
    files = SlotFiles(OsFileSystem(), state / "deployments")
    admission = Admission(IdentityFiles(OsFileSystem(), state / DIRECTORY))
    engine: Engine

    def load(slot: str) -> ServedModel:
        version = load_slot(files, spec.name, slot, spec.threads)
        model = warm(version, spec)
        if spec.drift:
            model.watch = watch(files, spec.name, version)
        engine.took_over(model)
        return model

    versions: Versions[ServedModel] = Versions(files, spec.name, load, lambda: tell(_status(engine)))
    log = RequestLog(state / LOG_DIRECTORY, spec.name, spec.request_log_bytes)
    engine = Engine(spec, versions, log)
    if spec.shadow:
        engine.shadow = _shadow(files, spec, engine)
    if spec.second:
        engine.forms = _forms(files, spec, engine, lambda: tell(_status(engine)))
    over_grpc, over_http = _listen(engine, admission)
    tell({"event": "listening", "grpc": over_grpc.address, "http": over_http.address})
    over_grpc.start()
    over_http.start()
    versions.look()
    versions.start()
    if engine.forms is not None:
        engine.forms.start()
    if engine.shadow is not None:
        engine.shadow.start()
    ends = threading.Event()
    threading.Thread(target=_keep_trust, args=(admission, ends), daemon=True).start()
    while (asked := _read(source)) is not None:
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


def _shadow(files: SlotFiles, spec: ServingSpec, engine: Engine) -> Shadow:
    """Try the committed version of another deployment on copies of what is asked."""

    def load(slot: str) -> ShadowModel:
        version = load_slot(files, spec.shadow, slot, spec.threads)
        return ShadowModel(model=warm(version, replace(spec, batch_max=1)), artifact=version.artifact)

    candidates: Versions[ShadowModel] = Versions(files, spec.shadow, load, lambda: None)
    return Shadow(spec.shadow, candidates, engine.judged)


def _forms(files: SlotFiles, spec: ServingSpec, engine: Engine, changed: Callable[[], None]) -> Forms:
    """Keep the committed version of another deployment loaded, and let it answer by the rule."""

    def load(slot: str) -> ServedModel:
        return warm(load_slot(files, spec.second, slot, spec.threads), spec)

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


if __name__ == "__main__":
    raise SystemExit(main())

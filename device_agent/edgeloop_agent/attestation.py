"""A statement about what serves on this device: verified, run, compared with its golden pack, and signed."""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.envelope import statement_text
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.facts import Facts, RuntimeFacts

from edgeloop_agent.board import Board
from edgeloop_agent.deployment_probe import ProbedSlot, probe_slot
from edgeloop_agent.deployments import Deployments
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.slots import Slot, SlotRecord

__all__ = ["attest"]

_LIFE_S_MAX = 366 * 86_400.0


async def attest(
    deployments: Deployments,
    board: Board,
    identity: DeviceIdentity,
    clock: Clock,
    name: str,
    life_s: float,
) -> tuple[str, str]:
    """Return the statement, and the envelope with it signed; the latter is empty when the device is not enrolled.

    Raises:
        InvalidInputError: it is to be valid for no time, or for more than a year.
        StateError: what serves does not load here, differs from its golden pack, or breaks a limit.
        CorruptDataError: what serves is not what was signed.
    """
    if not 0.0 < life_s <= _LIFE_S_MAX:
        raise InvalidInputError(f"a certificate is valid for up to {_LIFE_S_MAX:.0f} s, not {life_s:g}.")

    async def look(record: SlotRecord, directory: Path, artifact: Artifact) -> tuple[SlotRecord, ProbedSlot]:
        return record, await probe_slot(board, record, directory, artifact)

    record, probed = await deployments.inspect(name, look)
    facts = await board.facts()
    now_s, known = clock.wall_s(), identity.credentials
    expires_s = now_s + life_s
    if known is not None:
        expires_s = min(expires_s, known.certificate.not_after_s)
        if expires_s <= now_s:
            raise StateError(
                "this device's certificate has run out.", next_step="Renew it: edgeloop ca renew."
            )
    slot = Slot.parse(record.slot)
    text = statement_text(
        ParityStatement(
            deployment=name,
            artifact_digest=slot.digest,
            counter=slot.counter,
            identity="" if known is None else known.identity.uri,
            device_id=facts.device_id,
            device_name=facts.name,
            hardware=facts.hardware.model or facts.hardware.cpu_model,
            simulated=facts.simulated,
            operating_system=facts.operating_system,
            runtime=_runtime(facts, record.runtime),
            agent_version=facts.agent_version,
            isolation=probed.isolation,
            parity=probed.parity,
            latency_s=probed.latency_s,
            memory_bytes=probed.memory_bytes,
            issued_s=now_s,
            expires_s=expires_s,
        )
    )
    return text, "" if known is None else (await identity.sign_statement(text)).to_text()


def _runtime(facts: Facts, name: str) -> RuntimeFacts:
    found = next((runtime for runtime in facts.runtimes if runtime.name == name), None)
    if found is None:
        raise StateError(f"this device has no runtime {name}.")
    return found

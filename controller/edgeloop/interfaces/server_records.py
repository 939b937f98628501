"""What a running ``edgeloop serve`` knows, read from afar: devices, alerts, telemetry, models, artifacts, rollouts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from edgeloop_foundation.errors import NotFoundError, UnavailableError
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.artifact import Artifact

from edgeloop.domain.alert import Alert, AlertState, Rule
from edgeloop.domain.experiment import ExperimentResult
from edgeloop.domain.registry import ModelVersion, Placed, RegisteredModel
from edgeloop.domain.rollout import Rollout
from edgeloop.domain.rollout_plan import RolloutPlan
from edgeloop.domain.telemetry import Shown
from edgeloop.interfaces.server_link import ServerLink, path_word

__all__ = ["ServerRecords"]

_PAGE_ROWS = 200


class ServerRecords:
    """The looks that need nothing of this machine. Every method raises the ``EdgeloopError`` that the server told.

    Args:
        link: the way there.
    """

    def __init__(self, link: ServerLink) -> None:
        self._link = link

    @property
    def url(self) -> str:
        """Its address."""
        return self._link.address.url

    def close(self) -> None:
        """Close the connection; a later question makes another one."""
        self._link.close()

    def result(self, experiment: str = "latest") -> ExperimentResult:
        """Return a recorded experiment."""
        return from_json(self._link.ask("GET", f"experiments/{path_word(experiment)}"), ExperimentResult)

    def samples(self, digest: str) -> bytes | None:
        """Return raw samples (little-endian int64 nanoseconds); None when the server does not keep them."""
        try:
            data = self._link.ask_bytes("GET", f"samples/{path_word(digest)}")
        except NotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            raise UnavailableError(f"{self.url} sent other samples than those of {digest[:12]}.")
        return data

    def devices(self) -> list[dict[str, Any]]:
        """Return a row for each device that the server watches, as it was seen last; what is not known is None."""
        found: list[dict[str, Any]] = []
        page, page_count = 1, 1
        while page <= page_count:
            told = self._link.ask("GET", "devices", query={"page": page, "size": _PAGE_ROWS})
            found += told["devices"]
            page, page_count = page + 1, told["page_count"]
        return found

    def alerts(self, *, resolved: bool = False) -> tuple[Alert, ...]:
        """Return the open alerts, or the latest ones with those that ended."""
        found = self._link.ask("GET", "alerts", query={"resolved": "true"} if resolved else {})
        return tuple(
            Alert(
                rule=Rule(row["rule"]),
                device=row["device"],
                subject=row["subject"],
                state=AlertState(row["state"]),
                message=row["message"],
                opened_s=row["opened_s"],
                seen_s=row["seen_s"],
                resolved_s=row["resolved_s"],
            )
            for row in found
        )

    def telemetry(self, device: str, *, since_s: float, steps: int) -> Shown:
        """Return what was collected from a device over a window up to now."""
        path, query = f"devices/{path_word(device)}/telemetry", {"since_s": since_s, "steps": steps}
        return from_json(self._link.ask("GET", path, query=query), Shown)

    def models(self) -> tuple[RegisteredModel, ...]:
        """Return the registry."""
        return tuple(_model(tree) for tree in self._link.ask("GET", "models"))

    def tag(self, artifact: str, tag: str) -> str:
        """Let a tag stand for a kept artifact and return its digest."""
        found = self._link.ask("PUT", f"tags/{path_word(tag)}", query={"artifact": artifact})
        return str(found["artifact_digest"])

    def untag(self, tag: str) -> str:
        """Forget a tag and return what it stood for."""
        return str(self._link.ask("DELETE", f"tags/{path_word(tag)}")["artifact_digest"])

    def artifacts(self) -> tuple[tuple[str, Artifact], ...]:
        """Return digest and manifest of every kept artifact, the oldest first."""
        digests: Sequence[str] = self._link.ask("GET", "artifacts")
        found = (self._link.ask("GET", f"artifacts/{path_word(digest)}") for digest in digests)
        return tuple((str(tree["digest"]), from_json(tree["manifest"], Artifact)) for tree in found)

    def rollouts(self) -> tuple[Rollout, ...]:
        """Return every rollout, the oldest first."""
        names = [row["rollout_id"] for row in reversed(self._link.ask("GET", "rollouts"))]
        return tuple(self.rollout(name) for name in names)

    def rollout(self, word: str) -> Rollout:
        """Return a rollout by its identifier, or the newest one of a release."""
        return from_json(self._link.ask("GET", f"rollouts/{path_word(word)}"), Rollout)

    def start_rollout(self, plan: RolloutPlan, *, supersede: bool = False, dry_run: bool = False) -> Rollout:
        """Start a rollout, which the server drives; with ``dry_run`` only say who comes in which wave."""
        tree = {"plan": to_json(plan), "supersede": supersede, "dry_run": dry_run}
        return from_json(self._link.ask("POST", "rollouts", tree=tree), Rollout)

    def act_on_rollout(self, word: str, verb: str) -> Rollout:
        """Pause, resume, abort, keep or approve a rollout; what goes on is driven by the server."""
        row = self._link.ask("POST", f"rollouts/{path_word(word)}/{verb}")
        return self.rollout(row["rollout_id"])


def _model(tree: dict[str, Any]) -> RegisteredModel:
    return RegisteredModel(
        name=tree["name"],
        source_digest=tree["source_digest"],
        versions=tuple(
            ModelVersion(
                **{
                    **version,
                    "tags": tuple(version["tags"]),
                    "releases": tuple((name, counter) for name, counter in version["releases"]),
                    "placed": tuple(Placed(**place) for place in version["placed"]),
                }
            )
            for version in tree["versions"]
        ),
    )

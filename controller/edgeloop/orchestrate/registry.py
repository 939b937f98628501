"""The registry: kept artifacts by the model they were made of, with tags, releases, places and use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import MissingDependencyError, NotFoundError
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import DeploymentStatus

from edgeloop.domain.registry import ModelVersion, Placed, RegisteredModel, find_model
from edgeloop.domain.rollout import SERVES, DevicePhase, Rollout
from edgeloop.orchestrate.deploy import note_in_audit, repository
from edgeloop.store.overview import ArtifactUse
from edgeloop.store.rollouts import RolloutStore
from edgeloop.store.tags import TagStore, check_tag

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["find_model", "models", "tag_artifact", "untag_artifact"]

Told = Mapping[str, Sequence[DeploymentStatus]]
"""What devices said of their deployments, by the device's name."""


def models(app: App, told: Told | None = None) -> tuple[RegisteredModel, ...]:
    """Return every model of which an artifact is kept, the one with the newest artifact last.

    Args:
        app: stores.
        told: what devices said just now; it goes before what rollouts wrote down.

    Raises:
        CorruptDataError: a manifest or a file of tags is damaged.
    """
    found: dict[str, list[tuple[str, Artifact]]] = {}
    for digest in app.artifacts.digests():
        manifest = app.artifacts.manifest(digest)
        # The model with the newest artifact comes last.
        versions = found.pop(manifest.source_digest, [])
        found[manifest.source_digest] = [*versions, (digest, manifest)]
    overview = app.records.overview()
    names = overview.model_names()
    details = _Details(
        tags=_by_digest((digest, tag) for tag, digest in TagStore(app.state_directory).all().items()),
        releases=_releases(app),
        places=_places(RolloutStore(app.state_directory).all(), told or {}),
        use=overview.use([digest for several in found.values() for digest, _ in several]),
    )
    return tuple(
        RegisteredModel(
            name=names.get(source) or _file_name(several[0][1]),
            source_digest=source,
            versions=tuple(details.version(number, *one) for number, one in enumerate(several, start=1)),
        )
        for source, several in found.items()
    )


def tag_artifact(app: App, word: str, tag: str, by: str = "") -> str:
    """Let a tag stand for a kept artifact, named by another tag or the beginning of its digest; return the digest.

    Raises:
        InvalidInputError: it cannot be a tag.
        NotFoundError: no such artifact.
    """
    check_tag(tag)
    store = TagStore(app.state_directory)
    digest = store.all().get(word) or app.artifacts.find(word)
    before = store.put(tag, digest)
    _note(app, "model tag", tag, {"artifact": digest, "before": before}, by)
    return digest


def untag_artifact(app: App, tag: str, by: str = "") -> str:
    """Forget a tag and return the digest that it stood for.

    Raises:
        NotFoundError: there is no such tag.
    """
    digest = TagStore(app.state_directory).remove(tag)
    _note(app, "model untag", tag, {"artifact": digest}, by)
    return digest


def _note(app: App, action: str, tag: str, details: Mapping[str, str], by: str) -> None:
    note_in_audit(app.state_directory, action, tag, "done", {**details, **({"by": by} if by else {})})


class _Details:
    """What is known of artifacts besides their manifests, each by digest."""

    def __init__(
        self,
        *,
        tags: Mapping[str, Sequence[str]],
        releases: Mapping[str, Sequence[tuple[str, int]]],
        places: Mapping[str, Sequence[Placed]],
        use: Mapping[str, ArtifactUse],
    ) -> None:
        self._tags, self._releases, self._places, self._use = tags, releases, places, use

    def version(self, number: int, digest: str, manifest: Artifact) -> ModelVersion:
        use = self._use.get(digest, ArtifactUse())
        return ModelVersion(
            digest=digest,
            number=number,
            label=manifest.label,
            format=manifest.format,
            precision=manifest.precision,
            size_bytes=sum(entry.size_bytes for entry in manifest.files),
            tags=tuple(sorted(self._tags.get(digest, ()))),
            releases=tuple(sorted(self._releases.get(digest, ()))),
            placed=tuple(sorted(self._places.get(digest, ()), key=lambda one: (one.device, one.deployment))),
            run_count=use.run_count,
            error_count=use.error_count,
            last_run_wall_s=use.last_wall_s,
        )


def _by_digest(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for digest, word in pairs:
        found.setdefault(digest, []).append(word)
    return found


def _file_name(manifest: Artifact) -> str:
    """Return what stands for a model that no experiment named: made by a single verb, or records are gone."""
    return f"{manifest.label} {manifest.source_digest[:12]}"


def _releases(app: App) -> dict[str, list[tuple[str, int]]]:
    """Return name and counter of the signed releases, by digest; none where nothing was ever signed."""
    if not (app.state_directory / "release").is_dir():
        return {}
    try:
        signed = repository(app.state_directory).releases()
    except (MissingDependencyError, NotFoundError):
        # Without the packages that verify them, or before the keys are made, nothing is called a release.
        return {}
    found: dict[str, list[tuple[str, int]]] = {}
    for name, digest, terms in signed:
        found.setdefault(digest, []).append((name, terms.counter))
    return found


def _places(rollouts: Sequence[Rollout], told: Told) -> dict[str, list[Placed]]:
    """Return where artifacts serve: by the last rollout that touched a device, unless the device says itself."""
    latest: dict[tuple[str, str], tuple[str, str]] = {}
    for rollout in rollouts:
        for device in rollout.devices:
            place = (device.spec.name, rollout.plan.release)
            if device.phase in SERVES or device.phase is DevicePhase.UNHEALTHY:
                latest[place] = (rollout.artifact_digest, rollout.rollout_id)
            elif device.phase is DevicePhase.BACK:
                latest[place] = (device.before_digest, rollout.rollout_id)
    for device_name, statuses in told.items():
        for known in [place for place in latest if place[0] == device_name]:
            del latest[known]
        for status in statuses:
            latest[(device_name, status.name)] = (status.current_digest, "device")
    found: dict[str, list[Placed]] = {}
    for (device_name, deployment), (digest, known_from) in latest.items():
        if digest:
            found.setdefault(digest, []).append(
                Placed(device=device_name, deployment=deployment, known_from=known_from)
            )
    return found

"""``edgeloop model list|show|tag|untag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeloop.domain.registry import ModelVersion, RegisteredModel

__all__ = ["model"]


@click.group()
def model() -> None:
    """The registry: models, the artifacts made of them, where those serve, and how often they were run."""


@model.command("list")
@json_option
@click.pass_context
def list_models(ctx: click.Context, as_json: bool) -> None:
    """List every model of which an artifact is kept."""
    from edgeloop.interfaces import present

    found = _models(ctx.obj, ())
    if as_json:
        present.print_json({"models": found})
        return
    present.print_table(
        ("model", "digest", "versions", "tags", "serves on", "runs", "failed"),
        [_row(one) for one in found],
    )


@model.command()
@click.argument("name")
@on_option
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, on: tuple[str, ...], as_json: bool) -> None:
    """Show the versions of the model NAME: its name, a tag, or the beginning of a digest.

    Where they serve is what rollouts wrote down; --on asks these devices besides.
    """
    from edgeloop.domain.registry import find_model
    from edgeloop.interfaces import present

    found = find_model(_models(ctx.obj, on), name)
    if as_json:
        present.print_json(found)
        return
    present.print_text(f"{present_name(found)}: SHA-256 {found.source_digest}")
    present.print_table(
        ("version", "artifact", "label", "form", "bytes", "tags", "releases", "serves on", "runs", "failed"),
        [_version_row(version) for version in found.versions],
    )


@model.command()
@click.argument("artifact")
@click.argument("tag", metavar="TAG")
@json_option
@click.pass_context
def tag(ctx: click.Context, artifact: str, tag: str, as_json: bool) -> None:
    """Let TAG stand for a kept ARTIFACT: another tag, or the beginning of its digest."""
    from edgeloop.app import App
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.registry import tag_artifact

    session: Session = ctx.obj
    if server := server_of(session):
        digest = server.tag(artifact, tag)
    else:
        with App.open(session.state_directory()) as app:
            digest = tag_artifact(app, artifact, tag)
    if as_json:
        present.print_json({"tag": tag, "artifact_digest": digest})
    else:
        present.print_text(f"{tag} is {digest}")


@model.command()
@click.argument("tag", metavar="TAG")
@json_option
@click.pass_context
def untag(ctx: click.Context, tag: str, as_json: bool) -> None:
    """Forget TAG; the artifact stays."""
    from edgeloop.app import App
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.registry import untag_artifact

    session: Session = ctx.obj
    if server := server_of(session):
        digest = server.untag(tag)
    else:
        with App.open(session.state_directory()) as app:
            digest = untag_artifact(app, tag)
    if as_json:
        present.print_json({"tag": tag, "artifact_digest": digest})
    else:
        present.print_text(f"{tag} no longer stands for {digest}")


def _models(session: Session, on: tuple[str, ...]) -> Sequence[RegisteredModel]:
    """Return the registry, with what the named devices say of their deployments.

    Raises:
        UnavailableError: one of these does not answer.
        InvalidInputError: devices are named beside a server.
    """
    from edgeloop_foundation.errors import InvalidInputError, UnavailableError

    from edgeloop.app import App
    from edgeloop.orchestrate.registry import models

    if server := server_of(session):
        if on:
            raise InvalidInputError(
                "--on asks devices from here; a server tells of those that it watches.",
                next_step="Leave --on out.",
            )
        return server.models()
    told = {}
    if on:
        for answer in session.plain().shipping.deployments(session.devices(on)):
            if answer.error:
                raise UnavailableError(f"{answer.device.name}: {answer.error}")
            told[answer.device.name] = answer.statuses
    with App.open(session.state_directory()) as app:
        return models(app, told)


def present_name(one: RegisteredModel) -> str:
    """Return the model's name as a terminal may show it."""
    from edgeloop.domain.plain_text import plain_text

    return plain_text(one.name, 120)


def _row(one: RegisteredModel) -> tuple[str, ...]:
    tags = sorted(tag for version in one.versions for tag in version.tags)
    places = {place.device for version in one.versions for place in version.placed}
    return (
        present_name(one),
        one.source_digest[:12],
        str(len(one.versions)),
        ", ".join(tags),
        f"{len(places)} devices" if places else "-",
        str(one.run_count),
        str(one.error_count),
    )


def _version_row(version: ModelVersion) -> tuple[str, ...]:
    from edgeloop.domain.plain_text import plain_text

    return (
        str(version.number),
        version.digest[:12],
        plain_text(version.label, 60),
        f"{version.format} {version.precision}",
        str(version.size_bytes),
        ", ".join(version.tags),
        ", ".join(f"{name} {counter}" for name, counter in version.releases),
        ", ".join(f"{place.device} ({place.known_from})" for place in version.placed) or "-",
        str(version.run_count),
        str(version.error_count),
    )

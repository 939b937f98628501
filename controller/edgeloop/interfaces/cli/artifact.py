"""``edgeloop artifact list|get``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeloop.interfaces.cli.session import Session, json_option

__all__ = ["artifact"]


@click.group()
def artifact() -> None:
    """List kept artifacts or copy one out."""


@artifact.command("list")
@json_option
@click.pass_context
def list_artifacts(ctx: click.Context, as_json: bool) -> None:
    """List every kept artifact, oldest first."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        found = verbs.artifacts()
    if as_json:
        present.print_json({"artifacts": [{"digest": digest, "manifest": m} for digest, m in found]})
    else:
        present.print_artifacts(found)


@artifact.command("get")
@click.argument("digest")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="New directory; default: the digest's beginning."
)
@json_option
@click.pass_context
def get(ctx: click.Context, digest: str, output: Path | None, as_json: bool) -> None:
    """Copy the files of the artifact DIGEST (its beginning is enough) into a new directory."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        whole, directory = verbs.get_artifact(digest, output or Path(digest[:12]))
    if as_json:
        present.print_json({"digest": whole, "directory": str(directory)})
    else:
        present.print_text(str(directory))

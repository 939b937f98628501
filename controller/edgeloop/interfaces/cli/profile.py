"""``edgeloop profile list|show|check|schema``."""

from __future__ import annotations

import click
from edgeloop_foundation.errors import EdgeloopError

from edgeloop.interfaces.cli.session import json_option

__all__ = ["profile"]


@click.group()
def profile() -> None:
    """Show the declared boards, check a file of your own, print the layout for an editor."""


@profile.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the boards that can be simulated as sim:NAME."""
    from edgeloop_profiles import list_profiles, load_profile

    from edgeloop.interfaces import present_profile

    present_profile.print_profiles([load_profile(name) for name in list_profiles()], as_json)


@profile.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show every figure of the profile NAME, NAME@MODE or FILE.toml, with where it comes from."""
    from edgeloop_profiles import load_profile

    from edgeloop.interfaces import present_profile

    present_profile.print_profile(load_profile(name), as_json)


@profile.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check profiles and name every wrong field, with what was found and what is allowed; exit 2 then."""
    from edgeloop.interfaces import present_profile

    found = [(file, _problems(file)) for file in files]
    present_profile.print_checked(found, as_json)
    ctx.exit(2 if any(problems for _, problems in found) else 0)


def _problems(file: str) -> tuple[EdgeloopError, ...]:
    from edgeloop_profiles import check_profile

    try:
        return check_profile(file)
    except EdgeloopError as error:
        return (error,)


@profile.command()
@click.option("--json", "as_json", is_flag=True, help="Accepted for symmetry: a schema is JSON anyway.")
def schema(as_json: bool) -> None:
    """Print the layout of a profile as JSON Schema, draft 2020-12."""
    from edgeloop_profiles.json_schema import profile_json_schema

    from edgeloop.interfaces import present

    present.print_json(profile_json_schema())

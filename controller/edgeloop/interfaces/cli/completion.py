"""``edgeloop completion bash|zsh|fish``."""

from __future__ import annotations

import click

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete verbs and options: eval "$(edgeloop completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell} is known.")
    click.echo(found(ctx.find_root().command, {}, "edgeloop", "_EDGELOOP_COMPLETE").source())

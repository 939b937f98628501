"""The reference of the command lines, from their parsers."""

from __future__ import annotations

import argparse
import inspect
import re

import click

from scripts.docs_site.verbs import Verb, agent_parsers, edgeloop_verbs

__all__ = ["agent_page", "cell", "edgeloop_page"]


def cell(text: str) -> str:
    """Return a text as it may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def edgeloop_page() -> str:
    """Return the page of every verb and option."""
    verbs = edgeloop_verbs()
    lines = [
        "# The command line",
        "",
        "Made from the parsers when this site was built: what stands here is what the program takes. Options of the "
        "program itself stand before the verb. `-h` and `--help` are taken everywhere.",
        "",
        "Exit status: 0 fine, 1 a gate failed, 2 wrong use, 3 device or network, 70 a fault of edgeloop, "
        "130 interrupted, 141 nobody reads the output any more.",
        "",
    ]
    for verb in verbs.values():
        lines += _verb(verb)
    return "\n".join(lines)


def _verb(verb: Verb) -> list[str]:
    name = " ".join(("edgeloop", *verb.path))
    context = _context(verb)
    usage = " ".join(verb.command.collect_usage_pieces(context))
    lines = [
        f"## {name}",
        "",
        "```text",
        f"{name} {usage}",
        "```",
        "",
        _paragraphs(verb.command.help or ""),
        "",
    ]
    if isinstance(verb.command, click.Group):
        children = verb.command.list_commands(context)
        lines += [", ".join(f"[{child}](#{_anchor((*verb.path, child))})" for child in children), ""]
    options = [
        p for p in verb.command.get_params(context) if isinstance(p, click.Option) and p.name != "help"
    ]
    if options:
        lines += ["| option | what |", "|---|---|", *(_option(option, context) for option in options), ""]
    return lines


def _context(verb: Verb) -> click.Context:
    parent = None
    for name in ("edgeloop", *verb.path)[:-1]:
        parent = click.Context(click.Command(name), info_name=name, parent=parent)
    return click.Context(verb.command, info_name=("edgeloop", *verb.path)[-1], parent=parent)


def _anchor(path: tuple[str, ...]) -> str:
    return "-".join(("edgeloop", *path))


def _paragraphs(text: str) -> str:
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text).replace("\b", ""))
    return "\n\n".join(" ".join(part.split()).replace("<", "&lt;").replace("*", "\\*") for part in parts)


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    if record is None:
        return f"| `{'`, `'.join(option.opts)}` | |"
    names, text = record
    # Python-Markdown takes a pipe in a code span as it is.
    return f"| `{' '.join(names.split())}` | {cell(text)} |"


def agent_page() -> str:
    """Return the page of the agent's programs."""
    lines = [
        "# The agent's command line",
        "",
        "What runs on a device. `edgeloop device add` starts it as a service; by hand it is needed for agents "
        "without SSH. Exit status: 0 stopped as asked, 1 the agent failed, 2 wrong use.",
        "",
    ]
    for name, parser in agent_parsers().items():
        usage = " ".join(parser.format_usage().removeprefix("usage:").split())
        lines += [f"## {name}", "", "```text", usage, "```", "", "| option | what |", "|---|---|"]
        lines += [_argument(action) for action in parser._actions if action.dest != "help"]
        lines.append("")
    lines += [
        "## edgeloop-agent enrol",
        "",
        "Enrols this device in a fleet with a join token; `edgeloop device enrol NAME --listen HOST:PORT` prints the "
        "whole command to be typed on the device.",
        "",
    ]
    return "\n".join(lines)


def _argument(action: argparse.Action) -> str:
    value = (
        ""
        if action.nargs == 0
        else f" {action.metavar or '|'.join(map(str, action.choices or ())) or action.dest.upper()}"
    )
    default = (
        ""
        if action.default in (None, "", False, argparse.SUPPRESS) or action.default == []
        else f" Default: {action.default}."
    )
    needed = " Required." if action.required else ""
    return f"| `{', '.join(action.option_strings)}{value}` | {cell((action.help or '') + '.' + needed + default)} |"

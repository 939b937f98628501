"""What the command lines take, read from their parsers, and whether a command that a page shows is one of them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

__all__ = ["Verb", "agent_parsers", "all_options", "complaints", "edgeloop_verbs"]

_ENDS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "(", ")", "2>", "2>&1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb, or the program itself, with its options."""

    path: tuple[str, ...]
    command: click.Command
    #: Option as it is typed -> whether a value follows.
    options: dict[str, bool]

    @property
    def group(self) -> bool:
        return isinstance(self.command, click.Group)


@cache
def edgeloop_verbs() -> dict[tuple[str, ...], Verb]:
    """Return the program and every verb below it, by path; the program's own path is empty."""
    from edgeloop.interfaces.cli.main import cli

    return {verb.path: verb for verb in _walk((), cli, click.Context(cli, info_name="edgeloop"))}


def _walk(path: tuple[str, ...], command: click.Command, context: click.Context) -> Iterator[Verb]:
    options = {
        name: not (parameter.is_flag or parameter.count)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    yield Verb(path=path, command=command, options=options)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _walk((*path, name), child, click.Context(child, info_name=name, parent=context))


@cache
def agent_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of ``edgeloop-agent``, by name."""
    from edgeloop_agent.__main__ import _parser

    top = _parser()
    (table,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return {f"edgeloop-agent {name}": parser for name, parser in table.choices.items() if name != "enrol"}


def plugin_options() -> set[str]:
    """Return the options that the pytest plugin adds."""
    from edgeloop.interfaces import pytest_plugin

    source = Path(pytest_plugin.__file__).read_text(encoding="utf-8")
    listed = {f"--edgeloop-{name}" for name, *_ in pytest_plugin._OPTIONS}
    return listed | set(re.findall(r'"(--edgeloop-[a-z-]+)"', source))


def all_options() -> set[str]:
    """Return every long option of the verbs, of the agent and of the pytest plugin."""
    found = {name for verb in edgeloop_verbs().values() for name in verb.options}
    for parser in agent_parsers().values():
        found |= {name for action in parser._actions for name in action.option_strings}
    return {name for name in found | plugin_options() if name.startswith("--")}


def complaints(text: str) -> list[str]:
    """Return what is wrong with the calls of edgeloop and edgeloop-agent in a line of shell, one sentence each."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words, wrong = list(lexer), []
    for index, word in enumerate(words):
        first = (
            index == 0
            or words[index - 1] in _ENDS
            or words[index - 1] in ("--", "sudo")
            or "=" in words[index - 1]
        )
        if first and word in ("edgeloop", "edgeloop-agent"):
            end = next((i for i in range(index, len(words)) if words[i] in _ENDS), len(words))
            check = _edgeloop if word == "edgeloop" else _agent
            wrong += check(words[index + 1 : end])
    return wrong


def _edgeloop(words: list[str]) -> list[str]:
    verbs, path, wrong = edgeloop_verbs(), (), []
    index = 0
    while index < len(words):
        word, verb = words[index], verbs[path]
        if word == "--":
            break
        if word.startswith("-") and not word[1:2].isdigit():
            name, _, given = word.partition("=")
            if name not in verb.options and name not in ("-h", "--help"):
                wrong.append(f"edgeloop {' '.join(path)} has no {name}")
            # The value of some options may be left out.
            elif (
                verb.options.get(name)
                and not given
                and not "".join(words[index + 1 : index + 2]).startswith("--")
            ):
                index += 1
        elif verb.group:
            if (*path, word) not in verbs:
                return [*wrong, f"edgeloop {' '.join(path)} has no verb {word!r}"]
            path = (*path, word)
        index += 1
    return wrong


def _agent(words: list[str]) -> list[str]:
    if not words or words[0] in ("enrol", "--version", "--help"):
        return []
    parser = agent_parsers().get(f"edgeloop-agent {words[0]}")
    if parser is None:
        return [f"edgeloop-agent has no {words[0]!r}"]
    known = {name for action in parser._actions for name in action.option_strings}
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    return [f"edgeloop-agent {words[0]} has no {name}" for name in sorted(given - known)]

"""The pages hold together: marks, verbs, options, links, and the reference that is made from the sources."""

from __future__ import annotations

import re
from functools import cache

import edgeloop.interfaces.api as api
import pytest
from edgeloop_protocol.v1 import (
    conditions_pb2,
    deployment_pb2,
    device_pb2,
    identity_pb2,
    job_pb2,
    lease_pb2,
    load_pb2,
    measurement_pb2,
    run_pb2,
    serving_pb2,
    telemetry_pb2,
    trial_pb2,
)  # fmt: skip

from scripts.docs_site import blocks as b
from scripts.docs_site import links, verbs
from scripts.docs_site.command_pages import agent_page, edgeloop_page
from scripts.docs_site.error_pages import sentences
from scripts.docs_site.generated import generated_pages
from scripts.docs_site.wire_pages import read_proto, wire_page

PAGES = {str(path.relative_to(b.DOCS)): path.read_text(encoding="utf-8") for path in b.pages()}
FILES = (
    conditions_pb2, deployment_pb2, device_pb2, identity_pb2, job_pb2, lease_pb2, load_pb2, measurement_pb2, run_pb2,
    serving_pb2, telemetry_pb2, trial_pb2,
)  # fmt: skip
FOREIGN = frozenset({"--config.file"})
"""Options of other programs that pages name."""


@cache
def generated() -> dict[str, str]:
    return generated_pages()


def all_blocks() -> list[b.Block]:
    return [block for page, text in PAGES.items() for block in b.blocks(page, text)]


def test_every_block_is_marked_and_both_kinds_are_counted() -> None:
    assert [sentence for block in all_blocks() for sentence in b.problems(block)] == []
    run = [block for block in all_blocks() if block.runs]
    not_run = [block for block in all_blocks() if "not-run" in block.marks]
    plain = [block for block in all_blocks() if not block.marks]
    assert len(run) + len(not_run) + len(plain) == len(all_blocks())
    assert len(run) > 3 * len(not_run) > 0, "most of what is shown is run"


def test_the_commands_of_the_pages_are_taken_by_the_parsers() -> None:
    wrong = [
        f"{block.where}: {sentence}"
        for block in all_blocks()
        if block.language == "console"
        for command in b.commands(block)
        for sentence in verbs.complaints(command.text)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_verbs_and_options_in_the_text_exist(page: str) -> None:
    text = PAGES.get(page) or (b.ROOT / page).read_text(encoding="utf-8")
    known, wrong = verbs.all_options() | FOREIGN, []
    for span in b.inline_code(text):
        if re.match(r"edgeloop(-agent)? [a-z]", span):
            wrong += verbs.complaints(span)
        elif span.startswith("--") and page in PAGES:
            wrong += [
                f"there is no {word}"
                for word in re.findall(r"(?<!\S)--[a-z][a-z.-]*", span)
                if word not in known
            ]
    assert wrong == []


def test_readme_shows_commands_that_the_parsers_take() -> None:
    text = (b.ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in b.blocks("README.md", text) for line in block.text.splitlines()]
    shown = [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?edgeloop ", line)]
    assert len(shown) > 5
    assert [sentence for line in shown for sentence in verbs.complaints(line)] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("edgeloop rn model.onnx", "has no verb 'rn'"),
        ("edgeloop device ad pi", "has no verb 'ad'"),
        ("cd a && edgeloop run m --prefr size", "has no --prefr"),
        ("edgeloop sim up -- edgeloop bench m --onn local", "has no --onn"),
        ("edgeloop-agent serve --sock a", "has no --sock"),
        ("edgeloop-agent run", "has no 'run'"),
    ],
)
def test_a_verb_or_option_that_is_not_there_is_named(line: str, said: str) -> None:
    (sentence,) = verbs.complaints(line)
    assert said in sentence


@pytest.mark.parametrize(
    "line",
    [
        "edgeloop --home h run m --on local --require 'size < 1MB' --seed -1",
        "edgeloop compare a b --fail-if-slower --on local",
        "edgeloop report latest -o x | tee edgeloop",
        "EDGELOOP_DEBUG=1 edgeloop device list",
        "edgeloop bench m --nominal --rounds=3  # edgeloop nothing",
    ],
)
def test_what_the_parsers_take_raises_nothing(line: str) -> None:
    assert verbs.complaints(line) == []


def test_links_and_anchors_lead_somewhere() -> None:
    assert links.broken({**PAGES, **generated()}) == []


def test_a_broken_link_and_a_broken_anchor_are_found() -> None:
    pages = {
        "a/x.md": "[1](../y.md#here) [2](../z.md) [3](../y.md#gone) [4](#top)\n\n# Top",
        "y.md": "## Here",
    }
    assert links.broken(pages) == [
        "a/x.md: ../z.md leads to no page",
        "a/x.md: ../y.md#gone leads to no heading",
    ]


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([a-z0-9_/-]+\.md)$", (b.ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {*PAGES, *generated()}


def test_the_reference_has_every_verb_and_option() -> None:
    page = edgeloop_page()
    known = verbs.edgeloop_verbs()
    assert len(known) > 80
    for path, verb in known.items():
        begin = page.index(f"## {' '.join(('edgeloop', *path))}\n")
        part = page[begin : page.index("\n## ", begin + 3) if "\n## " in page[begin + 3 :] else None]
        assert [name for name in verb.options if name not in part and name not in ("-h", "--help")] == []
    for name, parser in verbs.agent_parsers().items():
        assert f"## {name}\n" in agent_page()
        assert all(
            word in agent_page()
            for action in parser._actions
            for word in action.option_strings
            if action.dest != "help"
        )


def test_the_reference_has_every_message_and_field_of_the_wire_with_its_comment() -> None:
    found = {}
    for path in (b.ROOT / "protos" / "proto" / "edgeloop").rglob("*.proto"):
        for entry in read_proto(path.read_text(encoding="utf-8"))[1]:
            found[entry.name] = entry
    count = 0
    for module in FILES:
        file = module.DESCRIPTOR
        for message in file.message_types_by_name.values():
            rows = {name: comment for name, _, comment in found[message.name].rows}
            assert set(rows) == {field.name for field in message.fields}
            assert found[message.name].comment
            assert all(rows.values())
            count += len(rows)
        for service in file.services_by_name.values():
            assert {row[0] for row in found[service.name].rows} == {method.name for method in service.methods}
    assert count > 300
    assert all(f"### {name}\n" in wire_page() for name in found)


def test_the_errors_that_troubleshooting_quotes_are_said_somewhere() -> None:
    said = [one.sentence for one in sentences()]
    assert len(said) > 300
    assert sum(bool(one.next_step) for one in sentences()) > 200
    text = PAGES["troubleshooting.md"]
    table = text[text.index("| sentence |") : text.index("### A device is refused")]
    quoted = [row.split("|")[1].strip().strip("`") for row in table.splitlines()[2:] if row.startswith("|")]
    assert len(quoted) > 10
    for sentence in quoted:
        parts = [re.escape(part) for part in sentence.split("…")]
        assert any(re.search(".*".join(parts), one) for one in said), sentence


def test_the_page_of_the_python_interface_has_all_of_it() -> None:
    shown = {
        line.split(".")[-1] for line in PAGES["reference/python.md"].splitlines() if line.startswith(":::")
    }
    assert set(api.__all__) - shown == set()


def test_pages_name_no_files_and_scripts_that_are_not_there() -> None:
    named = {
        (page, word)
        for page, text in PAGES.items()
        for span in b.inline_code(text)
        for word in re.findall(r"(?:scripts|examples|tests|controller|device_agent|protos)/[\w./-]+", span)
    }
    assert len(named) > 30
    assert [f"{page}: {word}" for page, word in sorted(named) if not (b.ROOT / word).exists()] == []

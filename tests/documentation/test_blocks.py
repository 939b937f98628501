"""The marks of code blocks: what is read from a page, and what is wrong with one."""

from __future__ import annotations

import pytest

from scripts.docs_site.blocks import Block, blocks, commands, inline_code, page_meta, problems
from scripts.docs_site.hooks_text import shown

PAGE = """---
boards:
  pi: raspberry_pi_4
---
# A page

```console run exit=1
$ first \\
    --more
output
$ second
```

* In a list:

    ```toml file=plan.toml
    a = 1
    ```

```console not-run="needs a board"
$ third
```
"""


def test_blocks_are_read_with_their_marks_and_lines() -> None:
    found = blocks("page.md", PAGE)
    assert [(b.line, b.language, dict(b.marks), b.runs) for b in found] == [
        (7, "console", {"run": "", "exit": "1"}, True),
        (16, "toml", {"file": "plan.toml"}, True),
        (20, "console", {"not-run": "needs a board"}, False),
    ]
    assert found[1].text == "a = 1\n"
    assert page_meta(PAGE)[0] == {"boards": {"pi": "raspberry_pi_4"}}


def test_commands_go_on_behind_a_backslash_and_keep_the_output_they_show() -> None:
    first, second = commands(blocks("page.md", PAGE)[0])
    assert (first.text, first.output) == ("first \\\n    --more", ("output",))
    assert (second.text, second.output) == ("second", ())


def test_a_reader_sees_why_a_block_was_not_run_and_no_mark() -> None:
    lines = shown(PAGE).split("\n")
    assert lines[6] == "```console"
    assert lines[15] == '    ```toml title="plan.toml"'
    assert lines[19] == '```console title="not run here: needs a board"'
    assert "run by the tests on a simulated board" in shown("```console run on=simulated\n$ a\n```")


@pytest.mark.parametrize(
    ("fence", "said"),
    [
        ("console", "neither or doubly"),
        ("", "the language '' is none of"),
        ("bash run", "the language 'bash' is none of"),
        ("console run not-run=x", "neither or doubly"),
        ("console not-run", "no reason"),
        ("console run on=board", "only stand-in"),
        ("console run twice", "unknown mark 'twice'"),
        ("toml run", "toml cannot be run"),
        ("text run", "the language 'text' is none of"),
    ],
)
def test_a_block_that_is_not_marked_as_it_must_be_is_named(fence: str, said: str) -> None:
    (block,) = blocks("page.md", f"\n```{fence}\n$ a\n```\n")
    wrong = problems(block)
    assert any(said in sentence for sentence in wrong), wrong
    assert all(sentence.startswith("page.md:2: ") for sentence in wrong)


def test_a_console_block_begins_with_a_command() -> None:
    (block,) = blocks("page.md", "```console run\nedgeloop run\n```")
    assert problems(block) == ["page.md:1: its first line is no command"]


@pytest.mark.parametrize(
    "fence", ["console run", "python run", "toml file=a.toml", "text", "json", 'console not-run="x y"']
)
def test_marks_that_are_right_raise_nothing(fence: str) -> None:
    (block,) = blocks("page.md", f"```{fence}\n$ a\n```")
    assert problems(block) == []


def test_code_spans_are_read_and_blocks_are_not() -> None:
    assert list(inline_code("Say `edgeloop\nrun` or `--on`.\n\n```text\n`no`\n```")) == [
        "edgeloop run",
        "--on",
    ]


def test_an_indented_block_is_a_block_too() -> None:
    (block,) = blocks("page.md", "text\n\n    edgeloop run\n")
    assert isinstance(block, Block)
    assert problems(block)

"""Worlds: blocks are run as a page says, and what goes another way fails with what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs_site.blocks import DOCS, blocks
from scripts.docs_site.worlds import Failure, World, run_page, shows


def run(directory: Path, text: str) -> None:
    world = World(directory / "world")
    try:
        for block in blocks("page.md", text):
            world.run(block)
    finally:
        world.close()


def test_blocks_leave_files_directory_and_exports_to_those_after_them(tmp_path: Path) -> None:
    text = (
        "```toml file=a/plan.toml\nx = 1\n```\n"
        "```console run\n$ export WORD=left\n$ cd a\n```\n"
        '```python run\nimport os\nprint(os.environ["WORD"], open("plan.toml").read())\n```\n'
        "```console run exit=3\n$ echo $WORD behind; cat plan.toml\nleft ...\nx = 1\n$ exit 3\n```\n"
    )
    run(tmp_path, text)
    assert (tmp_path / "world" / "a" / "plan.toml").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```console run\n$ echo before\n$ false\n```", "exit status 1, the page says 0"),
        ("```console run exit=1\n$ true\n```", "exit status 0, the page says 1"),
        (
            "```console run exit=1\n$ false\n$ echo after; exit 1\nelsewhere\n```",
            "exit status 1, the page says 0",
        ),
        ("```console run\n$ echo this\nthat\n```", "the page shows\nthat\nit wrote\nthis"),
        ("```python run\nraise SystemExit(2)\n```", "exit status 2"),
        ('```console run background="ready"\n$ echo gone\n```', "did not say 'ready'"),
    ],
)
def test_what_goes_another_way_than_the_page_says_fails(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(Failure) as failed:
        run(tmp_path, block)
    assert said in str(failed.value)
    assert str(failed.value).startswith("page.md:1: ")


def test_what_runs_in_the_background_is_there_for_later_blocks_and_ended(tmp_path: Path) -> None:
    text = (
        '```console run background="serving"\n$ python -c "import time; print(\'serving\', flush=True); '
        'time.sleep(600)"\n```\n```console run\n$ cat .shell/background0\nserving\n```\n'
    )
    world = World(tmp_path / "world")
    for block in blocks("page.md", text):
        world.run(block)
    (process,) = world._background
    assert process.poll() is None
    world.close()
    assert process.poll() is not None


def test_nothing_of_the_user_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", "/somewhere")
    run(tmp_path, f'```console run\n$ echo "[$EDGELOOP_HOME] $HOME"\n[] {tmp_path}/world\n```')


def test_dots_stand_for_anything_and_order_counts() -> None:
    said = "one  two three\nfour\nfive"
    assert shows(["one two ...", "five"], said)
    assert not shows(["five", "four"], said)
    assert not shows(["one two"], "one  twice")


@pytest.mark.timeout(300)
def test_the_first_page_and_the_reference_of_the_configuration_run(tmp_path: Path) -> None:
    """Two short pages; scripts/heavy/documentation runs all of them."""
    first = run_page(DOCS / "index.md", tmp_path / "index")
    assert (first.ran, len(first.not_run)) == (1, 1)
    assert run_page(DOCS / "reference" / "configuration.md", tmp_path / "configuration").ran >= 4

"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.architecture.rooms import PACKAGES, ROOT, imports, module_name, sources

FORBIDDEN_ROOMS = {"utils", "util", "common", "helpers", "helper", "core", "manager", "managers", "misc"}


def tables() -> list[tuple[Path, ast.Dict]]:
    """Return every file that has a BUILTIN table, with the table."""
    found = []
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            value = getattr(node, "value", None)
            if any(getattr(n, "id", "") == "BUILTIN" for n in names) and isinstance(value, ast.Dict):
                found.append((path, value))
    return found


def test_there_are_tables_to_look_at() -> None:
    assert len(tables()) >= 3


@pytest.mark.parametrize("path", [p for p, _ in tables()], ids=module_name)
def test_table_room_and_names_agree(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    rooms = set()
    for name, place in module.BUILTIN.items():
        module_path, _, class_name = place.partition(":")
        driver_module = importlib.import_module(module_path)
        driver = getattr(driver_module, class_name)
        assert getattr(driver, "name", name) == name, place
        assert module_path.rpartition(".")[2] == name, f"{place}: the file is named as the driver"
        rooms.add(Path(str(driver_module.__file__)))
    helpers = drivers_of(path.parent) - rooms
    assert not helpers, f"in the room but not in the table: {sorted(h.name for h in helpers)}"


def drivers_of(folder: Path) -> set[Path]:
    """Return the files of a room that define a class with a ``name`` of its own."""
    found = set()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(_gives_a_name(item) for item in node.body):
                found.add(path)
    return found


def _gives_a_name(item: ast.stmt) -> bool:
    if isinstance(item, ast.Assign):
        targets: list[ast.expr] = item.targets
    elif isinstance(item, ast.AnnAssign):
        targets = [item.target]
    else:
        return False
    return any(getattr(t, "id", "") == "name" for t in targets) and isinstance(item.value, ast.Constant)


def test_no_room_has_a_name_that_says_nothing() -> None:
    found = {p for path in sources() for p in (*path.parent.parts[len(ROOT.parts) :], path.stem)}
    assert found & FORBIDDEN_ROOMS == set()


def test_every_room_states_its_law() -> None:
    silent = []
    for path in sources():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            # The distribution's own package is a front door, not a room.
            if "Law" not in text and path.parent != PACKAGES["edgeloop"]:
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_every_module_says_what_is_public() -> None:
    silent = []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {getattr(t, "id", "") for n in tree.body if isinstance(n, ast.Assign) for t in n.targets}
        defines = any(
            isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and not n.name.startswith("_")
            for n in tree.body
        )
        if defines and "__all__" not in names and path.name != "__main__.py":
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


@pytest.mark.parametrize("path", [p for p in sources() if p.name != "__main__.py"], ids=module_name)
def test_what_is_public_is_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = next(
        (
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in n.targets)
        ),
        [],
    )
    module = importlib.import_module(module_name(path))
    assert [name for name in public if not hasattr(module, name)] == []
    assert len(set(public)) == len(public)


DURABLE = re.compile(
    r"(store|spool|slots|jobs?|leases?|journal|artifacts|records|upload)(_|$)|_journal$|store\."
)
PAST_THE_PORTS = {
    "os.rename",
    "os.replace",
    "os.unlink",
    "time.time",
    "time.monotonic",
    "time.sleep",
    "shutil.rmtree",
}


def durable_modules() -> list[Path]:
    """Return the modules whose code must run over the simulated ports as well."""
    found = []
    for path in sources("edgeloop_agent", "edgeloop"):
        room, _, stem = module_name(path).rpartition(".")
        if room == "edgeloop_agent" or room.startswith("edgeloop.store"):
            found += [path] * bool(room.startswith("edgeloop.store") or DURABLE.match(stem))
    return found


def calls(path: Path) -> list[str]:
    """Return every call of a file as text, with the first two arguments of open."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            mode = node.args[-1] if node.args else None
            writes = isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")
            name = ast.unparse(node.func)
            if name == "open" or name.endswith((".open", ".write_text", ".write_bytes")):
                found.append(f"{name} for writing" if writes or "write" in name else name)
            else:
                found.append(name)
    return found


def test_what_must_survive_goes_through_the_ports() -> None:
    modules = durable_modules()
    assert {"records", "artifacts", "spool", "store", "jobs", "leases"} <= {p.stem for p in modules}
    past = {
        f"{module_name(path)}: {call}"
        for path in modules
        for call in calls(path)
        if call in PAST_THE_PORTS or call.endswith("for writing")
    }
    assert past == set()


@pytest.mark.parametrize("package", ["edgeloop_foundation", "edgeloop_profiles"])
def test_floor_0_stands_on_the_standard_library(package: str) -> None:
    # tomli is the standard library's tomllib for Python 3.10.
    allowed = {*sys.stdlib_module_names, "tomli", "edgeloop_foundation", "edgeloop_protocol", package}
    found = {f"{module_name(p)}: {n}" for p in sources(package) for n in imports(p)}
    assert {f for f in found if f.partition(": ")[2].partition(".")[0] not in allowed} == set()


def test_nothing_committed_names_a_place_of_one_machine() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sources()
        if re.search(r"[\"']/(home|root|Users|work)/", path.read_text(encoding="utf-8"))
    ]
    assert found == []

from __future__ import annotations

import csv
import html
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from edgeloop.domain.experiment import ExperimentResult
from edgeloop.report import FORMATS, render, write_report
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from edgeloop_protocol.convert import from_json

from tests.controller.report import factory

HOSTILE = "=x</script><script>alert(1)</script>\"'|<img src=x onerror=alert(1)>[a](javascript:alert(1))`\x1b"


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    return factory.experiment()


@pytest.fixture(scope="module")
def page(result: ExperimentResult) -> str:
    return render(result, "html", factory.samples_of(result).get)


@pytest.fixture(scope="module")
def hostile(result: ExperimentResult) -> ExperimentResult:
    """The result with every name that a user or a device gives replaced."""
    tree = render(result, "json")
    for name in (
        "this-machine",
        "static int8 U8S8 per channel",
        "standard_v3_3.onnx",
        "/encoder/block0/conv0",
    ):
        tree = tree.replace(json.dumps(name), json.dumps(HOSTILE))
    return from_json(tree.replace("signal 11", json.dumps(HOSTILE)[1:-1]), ExperimentResult)


class Page(HTMLParser):
    """Collects what matters of a page: tags with attributes, chart specifications, table rows, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.charts: list[dict[str, object]] = []
        self.rows: list[str] = []
        self.captions: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append("")
        if tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["script"] and dict(self.tags[-1][1]).get("type") == "application/json":
            self.charts.append(json.loads(data))
        if "tr" in self._inside:
            self.rows[-1] += data
        if "figcaption" in self._inside:
            self.captions[-1] += data


def test_the_report_is_one_directory(tmp_path: Path, result: ExperimentResult) -> None:
    index = write_report(result, tmp_path / "report", factory.samples_of(result).get)
    assert index == tmp_path / "report" / "index.html"
    assert sorted(p.name for p in index.parent.iterdir()) == ["index.html", "report.md", "result.json"]
    assert from_json((index.parent / "result.json").read_text(), ExperimentResult) == result


def test_the_page_reaches_for_nothing(page: str) -> None:
    parsed = Page(page)
    loading = [(tag, a) for tag, a in parsed.tags for name in ("src", "srcset", "data") if name in a]
    links = [a["href"] for _, a in parsed.tags if a.get("href")]
    assert loading == []
    assert links
    assert all(link and link.startswith("#") for link in links)
    policy = next(a for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")
    assert page.count("plotly.js v") == 1


def test_charts_show_the_front_and_the_chosen_one(page: str) -> None:
    charts = Page(page).charts
    assert len(charts) == 9, "three charts for each device that was reached"
    pareto = {trace["name"]: trace for trace in charts[0]["data"]}  # type: ignore[attr-defined]
    assert pareto["chosen"]["text"] == ["static int8 U8S8 per channel"]
    assert pareto["infeasible"]["text"] == ["static int8 U8U8 per tensor"]
    assert pareto["original"]["x"][0] == pytest.approx(4.91, abs=0.02)
    assert pareto["original"]["error_y"]["array"][0] > 0
    assert len(pareto["Pareto front"]["x"]) == 3
    latency, nodes = charts[1]["data"], charts[2]["data"]
    assert {len(t["x"]) for t in latency} == {400}  # type: ignore[attr-defined]
    assert [t["name"] for t in nodes] == ["original", "static int8 U8S8 per channel"]  # type: ignore[attr-defined]
    assert len(nodes[0]["y"]) == 15  # type: ignore[index]


def test_drawn_samples_keep_their_ends(result: ExperimentResult, page: str) -> None:
    raw = factory.raw_samples("this-machine", factory.KINDS[0])
    drawn = Page(page).charts[1]["data"][-1]["x"]  # type: ignore[index]
    assert (min(drawn), max(drawn)) == (pytest.approx(raw.min() / 1e6), pytest.approx(raw.max() / 1e6))


def test_without_raw_samples_quantiles_are_drawn(result: ExperimentResult) -> None:
    text = render(result, "html")
    assert "raw samples are not kept here" in text
    points = Page(text).charts[1]["data"][-1]  # type: ignore[index]
    assert points["text"][:3] == ["smallest", "p50", "p90"]
    assert "median of round 4" in points["text"]


def test_predicted_figures_say_so_in_every_row_and_title(page: str) -> None:
    parsed = Page(page)
    badge = "simulated: predicted, basis transferred, unvalidated"
    titles = [c for c in parsed.captions if "raspberry" in c]
    assert len(titles) == 6
    assert all(badge in c for c in titles)
    assert all(badge not in c for c in parsed.captions if "this-machine" in c)
    for section in re.findall(r'<section class="device".*?</section>', page, re.DOTALL):
        rows = [r for r in Page(section).rows if not re.match(r"\s*(candidate|what)source", r)]
        simulated = 'id="device-1"' in section or 'id="device-2"' in section
        assert all((badge in row) == simulated for row in rows)
        assert len(rows) > 20 or 'id="device-3"' in section


def test_the_page_names_what_failed_and_why(page: str) -> None:
    text = html.unescape(page)
    for reason in (
        "attic (10.0.0.9:7443) did not answer within 10 s.",
        "The runner ended by signal 11 while it loaded the model.",
        "3 of 15 heavy nodes are Conv",
        "accuracy is 0.41",
        "no energy sensor: /sys/class/powercap has no readable RAPL domain",
        "17 of 256 decisions differ, at most 2 % may.",
        "None is feasible; nearest is static int8 U8S8 per channel",
    ):
        assert reason in text, reason


def elements(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for tag, attributes in Page(text).tags:
        yield tag, tuple(sorted(attributes))


def test_hostile_names_add_no_element(result: ExperimentResult, hostile: ExperimentResult, page: str) -> None:
    text = render(hostile, "html", factory.samples_of(result).get)
    assert HOSTILE.replace("\x1b", "") in html.unescape(text).replace("\x1b", "")
    assert list(elements(text)) == list(elements(page))
    assert "<img" not in json.dumps(Page(text).charts), "plotly reads labels as HTML"


def test_hostile_names_stay_in_their_markdown_cell(hostile: ExperimentResult) -> None:
    text = render(hostile, "markdown")
    assert not re.search(r"(?<!\\)<(script|img)", text)
    assert not re.search(r"(?<!\\)\[a", text)
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(tables) == sum(
        line.startswith("| ") for line in render(factory.experiment(), "markdown").splitlines()
    )
    heads = [line for line in tables if "candidate | source | series | standing" in line]
    width = heads[0].count("|")
    row = next(line for line in tables if "alert" in line and "chosen" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == width


def test_markdown_begins_with_the_answers(result: ExperimentResult) -> None:
    text = render(result, "markdown")
    assert "| this-machine | measured | ✅ Ship static int8 U8S8 per channel |" in text
    assert "| raspberry_pi_5 | simulated: predicted, basis transferred, unvalidated | ❔ Undecided" in text
    assert "1.71× (1.69 to 1.73)" in text
    assert text.count("<details>") == text.count("</details>") > 5


def test_csv_has_a_row_per_device_and_candidate(result: ExperimentResult, hostile: ExperimentResult) -> None:
    rows = list(csv.DictReader(io.StringIO(render(result, "csv"))))
    assert len(rows) == 18
    assert {(r["device"], r["source"]) for r in rows} == {
        ("this-machine", "measured"),
        ("raspberry_pi_5", "simulated"),
        ("raspberry_pi_4", "simulated"),
    }
    chosen = next(r for r in rows if r["standing"] == "chosen")
    assert float(chosen["latency_p50_s"]) == pytest.approx(2.87e-3, rel=0.01)
    assert float(chosen["size_bytes"]) == 884_730
    assert chosen["energy_j"] == "", "an absent figure is empty, not zero"
    cells = {c for r in csv.DictReader(io.StringIO(render(hostile, "csv"))) for c in r.values()}
    assert not [c for c in cells if c.startswith("=")]


def cases(text: str) -> dict[str, ElementTree.Element]:
    found = ElementTree.fromstring(text).iter("testcase")
    return {f"{c.get('classname')}/{c.get('name')}": c for c in found}


def test_junit_has_a_case_per_device_and_constraint(result: ExperimentResult) -> None:
    text = render(result, "junit")
    found = cases(text)
    assert len(found) == 3 * 3 + 2
    assert found["edgeloop.this-machine/latency_p95 < 20ms"].find("failure") is None
    nearest = found["edgeloop.simulated.raspberry_pi_4/latency_p95 < 20ms"].find("failure")
    assert nearest is not None
    assert nearest.get("type") == "failed"
    undecided = found["edgeloop.simulated.raspberry_pi_5/decision"].find("failure")
    assert undecided is not None
    assert undecided.get("type") == "undecided"
    unreached = found["edgeloop.attic/accuracy_drop < 1%"].find("error")
    assert unreached is not None
    assert "did not answer" in str(unreached.get("message"))
    suite = next(s for s in ElementTree.fromstring(text) if s.get("name") == "attic")
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("2", "2", "0")


def test_junit_of_hostile_names_is_still_xml(hostile: ExperimentResult) -> None:
    assert any("alert(1)" in name for name in cases(render(hostile, "junit")))


def test_a_result_without_labels_or_devices_still_renders(result: ExperimentResult) -> None:
    bare = replace(
        result,
        candidates=tuple(replace(c, quality=None) for c in result.candidates),
        data=replace(result.data, labelled=False, metric="", task=""),
        devices=(
            replace(
                result.devices[0],
                evidence=tuple(
                    replace(e, values=tuple(v for v in e.values if not v[0].startswith("quality")))
                    for e in result.devices[0].evidence
                ),
            ),
        ),
    )
    chart = Page(render(bare, "html")).charts[0]
    assert chart["layout"]["yaxis"]["title"]["text"] == "size [MB]"  # type: ignore[index]
    empty = replace(bare, candidates=(), skipped=(), devices=())
    for format in FORMATS:
        assert render(empty, format)


def test_unknown_formats_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'pdf'; known are html, markdown, json, csv, junit"):
        render(factory.experiment(), "pdf")


def test_a_missing_package_says_what_to_install(
    result: ExperimentResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"jinja2.*edgeloop\[controller\]"):
        render(result, "html")

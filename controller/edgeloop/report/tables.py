"""The result for machines: CSV for a spreadsheet, JUnit for a build server."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

from edgeloop_protocol.types.run import Run, Source, Verdict

from edgeloop.domain.constraint import QUANTITIES
from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import CheckResult, Decision, Evidence
from edgeloop.report.cells import series_text, source_text
from edgeloop.report.measurement import energy_text, remarks
from edgeloop.report.view import device_view, run_of

__all__ = ["csv_table", "junit"]

_SUFFIX = {"s": "_s", "B": "_bytes", "J": "_j", "ratio": "", "times": "", "Hz": "_hz"}


def csv_table(result: ExperimentResult) -> str:
    """Return one line per device and candidate, units in the columns' names; an absent figure is empty."""
    quantities = [f"{name}{_SUFFIX[q.unit]}" for name, q in QUANTITIES.items()]
    ends = [f"{name}{end}" for name in quantities for end in ("", "_low", "_high", "_n")]
    names = ("experiment", "device", "device_id", "source", "basis", "series", "candidate", "artifact_digest")
    answers = ("standing", "outcome", "parity", "reason", "fit", "anomalies", "no_energy_because", "run_id")
    gains = (f"latency_p50_gain{end}" for end in ("", "_low", "_high", "_n"))
    columns = [*names, *answers, *ends, *gains]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for device in result.devices:
        for evidence in device.evidence:
            writer.writerow([_inert(value) for value in _csv_row(result, device, evidence)])
    return stream.getvalue()


def _csv_row(result: ExperimentResult, device: DeviceResult, evidence: Evidence) -> list[object]:
    findings = {f.candidate: f for f in (device.strategy.findings if device.strategy else ())}
    finding = findings.get(evidence.candidate)
    estimates = [*(evidence.value(name) for name in QUANTITIES), evidence.gain("latency_p50")]
    return [
        result.experiment_id,
        device.device.name,
        device.facts.device_id if device.facts else "",
        evidence.source.value if evidence.source else "",
        device.strategy.basis if device.strategy else "",
        evidence.series,
        evidence.candidate,
        evidence.artifact_digest,
        finding.standing if finding else "",
        evidence.outcome.value if evidence.outcome else "",
        evidence.parity.value if evidence.parity else "",
        finding.reason if finding and finding.reason else evidence.exclusion or evidence.parity_reason,
        *_circumstances(run_of(device, evidence.candidate)),
        *(
            figure
            for e in estimates
            for figure in (e.value, e.low, e.high, e.sample_count if e.value is not None else None)
        ),
    ]


def _circumstances(run: Run | None) -> tuple[object, ...]:
    """Return fitness, anomalies, the reason for the absence of energy, and the run."""
    if run is None:
        return ("", "", "", "")
    fit = "" if run.preflight is None else str(run.preflight.fit).lower()
    anomalies = "; ".join(f"{a.kind.value}: {a.reason}" for a in run.anomalies)
    energy = energy_text(run.energy) if run.energy and run.energy.gross_j.value is None else ""
    return (fit, anomalies, energy, run.run_id)


def _inert(value: object) -> object:
    # Spreadsheets run a cell that begins like a formula; names come from devices and users.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def junit(result: ExperimentResult) -> str:
    """Return one test case per device and constraint, of the candidate to be shipped or the nearest to it.

    A verdict that is undecided fails: a gate passes on what is known, not on what may be.
    """
    root = ElementTree.Element("testsuites", name="edgeloop", time=f"{result.duration_s:.3f}")
    for device in result.devices:
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(device.device.name))
        suite.set("time", f"{device.duration_s:.3f}")
        _properties(device, suite)
        _cases(result, device, suite)
        suite.set("tests", str(len(suite.findall("testcase"))))
        for kind in ("failure", "error"):
            suite.set(f"{kind}s", str(len(suite.findall(f"testcase/{kind}"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _properties(device: DeviceResult, suite: ElementTree.Element) -> None:
    """Say what the figures rest on; a build server shows it beside the cases."""
    known = [("series", series_text(s)) for s in dict.fromkeys(e.series for e in device.evidence if e.series)]
    known += [("note", remark.text) for remark in remarks(device)]
    known += [
        (f"anomaly of {run.trial.label}", f"{a.kind.value}: {a.reason}")
        for run in device.runs
        for a in run.anomalies
    ]
    if known:
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in known:
            ElementTree.SubElement(properties, "property", name=_xml(name), value=_xml(value))


def _cases(result: ExperimentResult, device: DeviceResult, suite: ElementTree.Element) -> None:
    strategy = device.strategy
    name = f"edgeloop.{device.device.name}"
    if strategy is None:
        for constraint in result.request.require or ("decision",):
            case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name=_xml(constraint))
            reason = device.error or "there was nothing to decide from"
            ElementTree.SubElement(case, "error", type="device", message=_xml(reason))
        return
    source = source_text(strategy.source, strategy.basis).text
    judged = strategy.candidate or strategy.nearest or "original"
    if strategy.source in (Source.SIMULATED, Source.EMULATED):
        name = f"edgeloop.{strategy.source.value}.{device.device.name}"
    finding = next((f for f in strategy.findings if f.candidate == judged), None)
    for check in finding.checks if finding else ():
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name=_xml(check.constraint))
        _verdict(case, check)
        ElementTree.SubElement(case, "system-out").text = _xml(f"{judged} ({source}): {check.reason}")
    case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name="decision")
    if strategy.decision not in (Decision.THIS_ONE, Decision.KEEP_ORIGINAL):
        headline = device_view(result, device).headline
        ElementTree.SubElement(case, "failure", type=strategy.decision.value, message=_xml(headline))
    ElementTree.SubElement(case, "system-out").text = _xml(f"{source}: " + " ".join(strategy.reasons))


def _verdict(case: ElementTree.Element, check: CheckResult) -> None:
    if check.verdict is not Verdict.PASSED:
        ElementTree.SubElement(case, "failure", type=check.verdict.value, message=_xml(check.reason))


def _xml(text: str) -> str:
    """Return text without the characters that XML 1.0 can not hold."""
    return "".join(c if c >= " " or c in "\t\n\r" else "\ufffd" for c in text if c not in "\ufffe\uffff")

"""The daemon's front over real sockets: edgeloop serve in a process of its own, asked as programs and browsers ask."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.identity import HolderFiles
from edgeloop.domain.rollout import Rollout, RolloutDevice, RolloutState
from edgeloop.domain.rollout_plan import RolloutPlan, Wave
from edgeloop.orchestrate.deploy import note_in_audit
from edgeloop.orchestrate.identity import authority_of, found_fleet
from edgeloop.store.rollouts import RolloutStore
from edgeloop.store.tags import TagStore
from edgeloop_protocol.types.identity import Identity
from edgeloop_protocol.types.identity import Role as FleetRole

from tests.controller.report import factory

from .front import Front, start, stop

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("front")
    with App.open(home) as app:
        app.records.finish(factory.experiment())
    (home / "devices.toml").write_text(
        f'[devices."{HOSTILE}"]\naddress = "unix:/nowhere/a.sock"\nlabels = {{ rack = "3" }}\ngroups = ["lab"]\n'
        '[devices.here]\naddress = "local"\n'
    )
    note_in_audit(home, "deploy", "<b>board</b>", "committed", {"reason": "<i>"})
    running = start(home)
    yield running
    assert stop(running) == 0


PAGES = ("/", "/experiments", "/models", "/rollouts", "/alerts", "/leases", "/audit")


@pytest.mark.parametrize(
    "path", [*PAGES, "/metrics", "/api/v1/devices", "/api/v1/openapi.json", "/api/v1/audit"]
)
def test_nobody_comes_in_without_a_proof(front: Front, path: str) -> None:
    assert front.ask(path, "").status == 401
    browser = front.ask(path, "", headers={"Accept": "text/html"})
    if path.startswith("/api/"):
        assert browser.status == 401
    else:
        assert (browser.status, browser.headers["location"]) == (303, f"/login?next={path}")
    assert front.ask(path, "observer").status == 200


@pytest.mark.parametrize("path", PAGES)
def test_pages_run_only_our_own_scripts(front: Front, path: str) -> None:
    answer = front.ask(path)
    assert answer.headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "://" not in answer.text.replace('xmlns="http://', ""), "nothing is fetched from elsewhere"
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text


def test_another_name_for_this_address_is_refused(front: Front) -> None:
    assert front.ask("/api/v1/devices", headers={"Host": "evil.example"}).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/rollouts/x/pause"),
        ("PUT", "/api/v1/tags/t?artifact=a"),
        ("DELETE", "/api/v1/tags/t"),
    ],
)
def test_an_observer_changes_nothing(front: Front, method: str, path: str) -> None:
    assert front.ask(path, "observer", method).status == 403
    assert front.ask(path, "operator", method).status == 404


def test_a_browser_signs_in_and_changes_something_from_our_pages_alone(front: Front) -> None:
    digest = "c" * 64
    TagStore(front.home).put("kept", digest)
    assert front.ask("/api/v1/session", "", "POST").status == 401
    signed_in = front.ask("/api/v1/session", "operator", "POST")
    given = signed_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {word.strip() for word in given.split(";")}
    cookie = {"Cookie": given.partition(";")[0], "Accept": "text/html"}
    page = front.ask("/", "", headers=cookie)
    assert page.status == 200
    word = page.text.split('name="csrf" content="')[1].partition('"')[0]
    assert front.ask("/api/v1/tags/kept", "", "DELETE", cookie).status == 403
    own = {**cookie, "X-Edgeloop-Csrf": word, "Origin": front.url}
    assert (
        front.ask("/api/v1/tags/kept", "", "DELETE", {**own, "Origin": "http://evil.example"}).status == 403
    )
    removed = front.ask("/api/v1/tags/kept", "", "DELETE", own)
    assert (removed.status, removed.json()) == (200, {"tag": "kept", "artifact_digest": digest})
    newest = front.ask("/api/v1/audit").json()["entries"][0]
    assert (newest["action"], newest["subject"]) == ("model untag", "kept")
    assert newest["details"] == {"artifact": digest, "by": "operator token"}


def test_hostile_names_are_text(front: Front) -> None:
    page = front.ask("/").text
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    device = front.ask(f"/devices/{quote(HOSTILE)}")
    assert device.status == 200
    assert HOSTILE not in device.text
    assert "<b>board</b>" not in front.ask("/audit").text
    assert "&lt;b&gt;board&lt;/b&gt;" in front.ask("/audit").text
    assert f'edgeloop_device_up{{device="{HOSTILE}"}} 0' in front.ask("/metrics").text


def test_devices_are_filtered_and_waited_for(front: Front) -> None:
    def names(query: str) -> list[str]:
        return [row["name"] for row in front.ask(f"/api/v1/devices?{query}").json()["devices"]]

    assert names("group=lab") == [HOSTILE]
    assert names("q=rack%3D3") == [HOSTILE]
    assert names("state=on%20use") == ["here"]
    assert names("sort=-name") == ["here", HOSTILE]
    first = front.ask("/api/v1/devices").json()
    later = front.ask(f"/api/v1/devices?after={first['sequence']}&wait_s=20").json()
    assert later["sequence"] > first["sequence"], "who looks at a page is told of the next look"
    row = next(row for row in later["devices"] if row["name"] == HOSTILE)
    assert row["state"] == "away"
    assert "nowhere" in row["remark"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/devices?state=odd", 400), ("/api/v1/devices?sort=odd", 400), ("/api/v1/devices?size=0", 400),
        ("/api/v1/devices/none", 404), ("/api/v1/experiments/none", 404), ("/api/v1/rollouts/none", 404),
        ("/api/v1/models/none", 404), ("/api/v1/none", 404), ("/static/../access.py", 404), ("/static/x.js", 404),
        ("/devices/none", 404), ("/api/v1/runs?limit=9999", 400),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_form(front: Front, path: str, status: int) -> None:
    answer = front.ask(path)
    assert answer.status == status
    assert set(answer.json()["error"]) == {"kind", "message", "next_step"}


def test_records_are_told_as_they_are(front: Front) -> None:
    listed = front.ask("/api/v1/experiments").json()
    result = factory.experiment()
    assert [one["experiment_id"] for one in listed] == [result.experiment_id]
    whole = front.ask(f"/api/v1/experiments/{result.experiment_id}").json()
    assert [d["device"]["name"] for d in whole["devices"]] == [d.device.name for d in result.devices]
    runs = front.ask("/api/v1/runs?limit=1").json()
    assert front.ask(f"/api/v1/runs/{runs[0]['run_id']}").json()["run_id"] == runs[0]["run_id"]
    page = front.ask(f"/experiments/{result.experiment_id}")
    assert page.status == 200
    assert page.text.count("data-chart=") >= 3, "Pareto front, distributions, time per node"
    assert front.ask("/static/plotly.js").status == 200


def test_a_rollout_is_acted_upon(front: Front) -> None:
    spec = DeviceSpec(name="far", transport="grpc", address="unix:/nowhere/a.sock")
    store = RolloutStore(front.home)
    store.save(
        Rollout(
            rollout_id="demo-1",
            plan=RolloutPlan(release="demo", waves=(Wave(rest=True),)),
            artifact_digest="a" * 64,
            counter=1,
            devices=(RolloutDevice(spec=spec, wave=0),),
            state=RolloutState.WATCHING,
            started_wall_s=time.time(),
            since_wall_s=time.time(),
        )
    )
    assert front.ask("/api/v1/rollouts/demo/odd", method="POST").status == 400
    assert front.ask("/api/v1/rollouts/demo/approve", method="POST").status == 409
    assert front.ask("/api/v1/rollouts/demo/pause", method="POST").json()["state"] == "paused"
    page = front.ask("/rollouts/demo").text
    assert 'data-verb="approve"' in page
    assert 'data-verb="approve"' not in front.ask("/rollouts/demo", "observer").text
    done = front.ask("/api/v1/rollouts/demo-1/keep", method="POST").json()
    assert (done["state"], done["phase_counts"]) == ("aborted", {"waiting": 1})
    assert store.get("demo").state is RolloutState.ABORTED
    assert "asked: rollout keep" in front.ask("/audit").text


def test_the_description_names_every_route(front: Front) -> None:
    described = front.ask("/api/v1/openapi.json").json()["paths"]
    wanted = (
        "devices",
        "groups",
        "leases",
        "experiments",
        "runs",
        "artifacts",
        "models",
        "rollouts",
        "audit",
        "alerts",
    )
    assert {f"/api/v1/{word}" for word in wanted} <= set(described)
    assert list(described["/api/v1/rollouts/{rollout_id}/{verb}"]) == ["post"]


def test_prometheus_is_told_where_to_scrape_and_what(front: Front) -> None:
    here = urlsplit(front.url).netloc
    labels = {"__scheme__": "http", "edgeloop_role": "controller"}
    assert front.ask("/api/v1/prometheus/targets", "observer").json() == [
        {"targets": [here], "labels": labels}
    ]
    scraped = front.ask("/metrics", "observer")
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    result = factory.experiment()
    succeeded = sum(run.outcome.value == "success" for device in result.devices for run in device.runs)
    counted = [
        int(line.rpartition(" ")[2])
        for line in scraped.text.splitlines()
        if line.startswith("edgeloop_runs_total{") and 'outcome="success"' in line
    ]
    assert sum(counted) == succeeded
    assert 'edgeloop_device_up{device="here"}' not in scraped.text, (
        "who is never asked is neither up nor down"
    )


def test_certificates_of_the_fleet_are_a_proof_until_they_are_revoked(tmp_path: Path) -> None:
    authority, _ = found_fleet(tmp_path, "lab")
    holders = {}
    for role in (FleetRole.CONTROLLER, FleetRole.OBSERVER):
        files = HolderFiles(directory=tmp_path / role.value)
        files.directory.mkdir()
        authority.issue_holder(Identity(fleet="lab", role=role, name="me"), files)
        context = ssl.create_default_context(cafile=str(files.roots))
        context.load_cert_chain(files.identity)
        holders[role] = context
    front = start(tmp_path, "--tls")
    front.context = ssl.create_default_context(cafile=str(tmp_path / "controller" / "roots.pem"))
    try:
        assert front.url.startswith("https://")
        assert front.ask("/api/v1/devices", "").status == 401
        assert front.ask("/api/v1/devices", "operator").status == 200
        for role, status in ((FleetRole.OBSERVER, 403), (FleetRole.CONTROLLER, 403)):
            looked = front.ask("/", "", context=holders[role])
            assert looked.status == 200
            assert looked.headers["strict-transport-security"]
            word = looked.text.split('name="csrf" content="')[1].partition('"')[0]
            path = "/api/v1/tags/none"
            assert front.ask(path, "", "DELETE", context=holders[role]).status == status, (
                "a browser sends it unasked"
            )
            found = front.ask(path, "", "DELETE", {"X-Edgeloop-Csrf": word}, context=holders[role])
            assert found.status == (404 if role is FleetRole.CONTROLLER else 403)
        authority_of(tmp_path).revoke("spiffe://lab/controller/me")
        assert front.ask("/api/v1/devices", "", context=holders[FleetRole.CONTROLLER]).status == 401
    finally:
        assert stop(front) == 0

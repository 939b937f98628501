"""The MLPerf scenarios with ``mlcommons-loadgen`` as the one that sends and counts."""

from __future__ import annotations

import importlib.metadata
import json
import math
import queue
import tempfile
import threading
import time
from array import array
from pathlib import Path
from typing import Any

from edgeloop_agent.arrivals import Serve
from edgeloop_agent.scenarios import OVERTIME, PERCENTILES, QUERY_FLOORS, STREAM_SAMPLES, Plan, Played

__all__ = ["is_installed", "play_with_loadgen"]

_DISTRIBUTION = "mlcommons-loadgen"
_SCENARIOS = {
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
_EARLY_STOPPING = {
    "single_stream": "early_stopping_latency_ss",
    "multi_stream": "early_stopping_latency_ms",
}
_LIBRARY_COUNT = 64
# LoadGen asks for a tenth more samples than fill the duration at the expected rate.
_OFFLINE_SLACK = 1.1
_PAUSE_AFTER_ERROR_S = 0.01
_PREFIX = ":::MLLOG "


def is_installed() -> bool:
    """Return whether LoadGen can be asked for."""
    try:
        importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def play_with_loadgen(plan: Plan, serve: Serve) -> Played:
    """Let LoadGen play one scenario against ``serve``.

    Latencies are taken where it hands a query over, and where its answer is handed back; validity and early
    stopping are LoadGen's own.
    """
    import mlperf_loadgen

    system = _System(mlperf_loadgen, plan, serve)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        logs = mlperf_loadgen.LogSettings()
        logs.enable_trace = False
        logs.log_output.outdir = directory
        logs.log_output.copy_summary_to_stdout = False
        system.run(logs)
        results = read_results(Path(directory) / "mlperf_log_detail.txt")
    played = Played(
        engine=f"{_DISTRIBUTION} {importlib.metadata.version(_DISTRIBUTION)}",
        query_count=system.query_count,
        sample_count=system.sample_count,
        duration_ns=system.end_ns - system.start_ns,
        latency_ns=system.latency_ns if plan.scenario in PERCENTILES else array("q"),
    )
    _set_early_stopping(plan.scenario, results, played)
    played.complaint = _complaint(results)
    return played


def read_results(path: Path) -> dict[str, Any]:
    """Return what LoadGen wrote down as results, by its own names."""
    found = {}
    for line in path.read_text().splitlines():
        record = json.loads(line.removeprefix(_PREFIX))
        if record["key"].startswith(("result_", "early_stopping_")):
            found[record["key"]] = record["value"]
    return found


def _set_early_stopping(scenario: str, results: dict[str, Any], played: Played) -> None:
    key = _EARLY_STOPPING.get(scenario)
    if key:
        # Zero is LoadGen's way to say that there were too few queries.
        played.early_stopping_ns = int(results.get(key, 0)) or None
    elif scenario in PERCENTILES:
        # LoadGen answers this scenario with yes or no; the estimate is the same rule put the other way round.
        played.estimate(PERCENTILES[scenario])


def _complaint(results: dict[str, Any]) -> str:
    if results.get("result_validity") == "VALID":
        return ""
    rules = {
        "result_perf_constraints_met": "the latency bound",
        "result_min_duration_met": "the least duration",
        "result_min_queries_met": "the least count of queries",
        "early_stopping_met": "early stopping",
    }
    broken = [what for key, what in rules.items() if results.get(key) is False]
    return f"LoadGen finds unmet: {', '.join(broken) or 'a rule that it does not name'}"


class _System:
    """The system under test as LoadGen sees it."""

    def __init__(self, loadgen: Any, plan: Plan, serve: Serve) -> None:
        self._loadgen, self._plan, self._serve = loadgen, plan, serve
        self._waiting: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self.latency_ns: array[int] = array("q")
        self.query_count = self.sample_count = 0
        self.start_ns = self.end_ns = 0

    def run(self, logs: Any) -> None:
        """Play the scenario to its end.

        Raises:
            Exception: what the first failing inference raised.
        """
        worker = threading.Thread(target=self._work)
        parallel = self._plan.scenario in ("server", "offline")
        sut = self._loadgen.ConstructSUT(self._queue if parallel else self._answer, lambda: None)
        library = self._loadgen.ConstructQSL(_LIBRARY_COUNT, _LIBRARY_COUNT, lambda _: None, lambda _: None)
        worker.start()
        try:
            self._loadgen.StartTestWithLogSettings(sut, library, self._settings(), logs)
        finally:
            self._waiting.put(None)
            worker.join()
            self._loadgen.DestroyQSL(library)
            self._loadgen.DestroySUT(sut)
        if self._error is not None:
            raise self._error

    def _settings(self) -> Any:
        plan, settings = self._plan, self._loadgen.TestSettings()
        settings.scenario = getattr(self._loadgen.TestScenario, _SCENARIOS[plan.scenario])
        settings.mode = self._loadgen.TestMode.PerformanceOnly
        settings.min_duration_ms = math.ceil(plan.duration_s_min * 1000)
        settings.max_duration_ms = math.ceil(plan.duration_s_min * 1000 * OVERTIME)
        settings.min_query_count = QUERY_FLOORS.get(plan.scenario, 1)
        seconds = max(plan.inference_s, 1e-9)
        settings.single_stream_expected_latency_ns = math.ceil(seconds * 1e9)
        settings.multi_stream_expected_latency_ns = math.ceil(seconds * 1e9 * STREAM_SAMPLES)
        settings.multi_stream_samples_per_query = STREAM_SAMPLES
        settings.offline_expected_qps = plan.batch_size / seconds / _OFFLINE_SLACK
        if plan.scenario == "server":
            settings.server_target_qps = plan.rate_hz
            settings.server_target_latency_ns = math.ceil(plan.latency_bound_s * 1e9)
        settings.qsl_rng_seed = settings.sample_index_rng_seed = settings.schedule_rng_seed = plan.seed
        return settings

    def _answer(self, samples: Any) -> None:
        """Answer one query at once, in the thread that brings it."""
        before = time.perf_counter_ns()
        self.start_ns = self.start_ns or before
        ids = [sample.id for sample in samples]
        for first in range(0, len(ids), self._plan.batch_size):
            self._infer()
            self._complete(ids[first : first + self._plan.batch_size])
        self.end_ns = time.perf_counter_ns()
        self.latency_ns.append(self.end_ns - before)
        self.query_count += 1

    def _queue(self, samples: Any) -> None:
        """Hand the samples of one query to the worker."""
        now = time.perf_counter_ns()
        self.start_ns = self.start_ns or now
        self.query_count += 1
        for sample in samples:
            self._waiting.put((now, sample.id))

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            while len(group) < self._plan.batch_size and (following := self._next()) is not None:
                group.append(following)
            self._infer()
            self.end_ns = time.perf_counter_ns()
            self._complete([identity for _, identity in group])
            if self._plan.scenario in PERCENTILES:
                self.latency_ns.extend(self.end_ns - queued for queued, _ in group)

    def _next(self) -> tuple[int, int] | None:
        try:
            following = self._waiting.get_nowait()
        except queue.Empty:
            return None
        if following is None:
            self._waiting.put(None)
        return following

    def _infer(self) -> None:
        """Run one inference; an error must not travel through LoadGen's threads, so that it is kept for later."""
        if self._error is not None:
            time.sleep(_PAUSE_AFTER_ERROR_S)
            return
        try:
            self._serve()
        except Exception as error:
            self._error = error

    def _complete(self, ids: list[int]) -> None:
        self.sample_count += len(ids)
        response = self._loadgen.QuerySampleResponse
        self._loadgen.QuerySamplesComplete([response(identity, 0, 0) for identity in ids])

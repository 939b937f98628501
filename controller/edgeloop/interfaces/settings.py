"""How to measure, from the words of the command line and the configuration file.

The two speak of the same keys: a word given on the command line wins, and both lead to the values that the Python
API takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.sweep import NO_SWEEP, SweepPlan
from edgeloop.interfaces.options import parse_duration_s, parse_numbers, parse_pairs, parse_processors

if TYPE_CHECKING:
    from edgeloop.interfaces.config import Config

__all__ = ["Measurement", "measurement"]

_DURATIONS = {
    "settle": "settle_s_max",
    "idle": "idle_s",
    "sustained": "sustained_s",
    "window": "window_s",
    "scenario_time": "scenario_s_min",
    "latency_bound": "latency_bound_s",
}
_PLAIN = {
    "rounds": "rounds",
    "batch_size": "batch_size",
    "samples": "sample_count_min",
    "seed": "seed",
    "queue": "queue_count_max",
    "interleave": "interleave",
    "load_pulse": "load_pulse",
}
_SETTINGS = {
    "require_provider": "require_provider",
    "spin": "allow_spinning",
    "arena": "memory_arena",
    "precision": "inference_precision",
    "warmup": "warmup_count_min",
    "threads": "intra_op_threads",
}
"""Word of the command line -> field of the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How to measure, ready for the API."""

    benchmark: Benchmark
    settings: RuntimeSettings
    #: Settings of the second and further runtimes.
    variants: tuple[RuntimeSettings, ...] = ()
    sweep: SweepPlan = NO_SWEEP


def measurement(words: Mapping[str, Any], config: Config | None) -> Measurement:
    """Return how to measure.

    Args:
        words: options by their name on the command line; None, or an empty list, is one not given.
        config: the configuration file; None without one.

    Raises:
        InvalidInputError: a word cannot be read, or two of them do not go together.
    """
    given = {name: value for name, value in words.items() if value is not None and value != ()}
    settings, variants = _settings(given, config)
    benchmark, rates, arrival = _benchmark(given, config)
    sizes = parse_numbers(given["batch_sizes"], "--batch-sizes") if "batch_sizes" in given else ()
    sizes = sizes or (tuple(sorted(set(config.benchmark.batch_sizes))) if config else ())
    if any(size != int(size) for size in sizes):
        raise InvalidInputError("batch sizes are whole numbers.")
    sweep = SweepPlan(
        batch_sizes=tuple(map(int, sizes)),
        rates_hz=rates if len(rates) > 1 else (),
        arrival=arrival,
    )
    return Measurement(benchmark=benchmark, settings=settings, variants=variants, sweep=sweep)


def _benchmark(given: Mapping[str, Any], config: Config | None) -> tuple[Benchmark, tuple[float, ...], str]:
    """Return the benchmark, every rate that is named, and how the requests of a rate sweep come."""
    fields = config.benchmark.model_dump() if config else {}
    fields.pop("batch_sizes", None)
    as_deployed = given.get("as_deployed", fields.pop("as_deployed", False))
    fields["series"] = "as_deployed" if as_deployed else "nominal"
    configured = fields.pop("rate_hz", 0.0)
    rates = (
        tuple(sorted(set(configured))) if isinstance(configured, list) else (configured,) * bool(configured)
    )
    if "rate" in given:
        rates = parse_numbers(given["rate"], "--rate")
    fields |= {field: given[word] for word, field in _PLAIN.items() if word in given}
    fields |= {
        field: parse_duration_s(given[word], zero=word in ("settle", "idle"))
        for word, field in _DURATIONS.items()
        if word in given
    }
    if "scenario" in given:
        fields["scenario"] = given["scenario"].replace("-", "_")
    arrival = given.get("arrival", "").replace("-", "_") or fields.pop("arrival", "")
    fields |= _load(rates, arrival, fields.get("scenario", ""))
    if len(rates) > 1 and arrival == "closed":
        raise InvalidInputError(
            "several rates make a sweep of scheduled arrivals, and --arrival closed schedules none.",
            next_step="Leave --arrival out, or give paced, open-uniform or open-poisson.",
        )
    try:
        return Benchmark(**fields), rates, arrival or "open_poisson"
    except ValueError as error:
        raise InvalidInputError(f"{_words(str(error))}.") from error


def _load(rates: tuple[float, ...], arrival: str, scenario: str) -> dict[str, Any]:
    """Return how requests come and how often; one rate alone means Poisson arrivals unless a scenario uses it."""
    if scenario == "server":
        if len(rates) > 1:
            raise InvalidInputError("the server scenario has one rate.", next_step="Give one --rate.")
        return {"arrival": arrival or "closed", "rate_hz": rates[0] if rates else 0.0}
    if len(rates) == 1:
        return {"arrival": arrival or "open_poisson", "rate_hz": rates[0]}
    if rates:
        # The points of the sweep carry their rates; the benchmark beside them is a closed loop.
        return {"arrival": "closed", "rate_hz": 0.0}
    return {"arrival": arrival or "closed", "rate_hz": 0.0}


def _words(message: str) -> str:
    """Return a message about fields in the words that the user wrote."""
    for field, word in (("a rate_hz above 0", "--rate"), ("a latency_bound_s above 0", "--latency-bound")):
        message = message.replace(field, word)
    return message.replace("a rate_hz and --latency-bound", "--rate and --latency-bound")


def _settings(
    given: Mapping[str, Any], config: Config | None
) -> tuple[RuntimeSettings, tuple[RuntimeSettings, ...]]:
    fields: dict[str, Any] = config.runtime.model_dump() if config else {}
    names = given.get("runtime") or fields.pop("runtime", "onnxruntime")
    fields.pop("runtime", None)
    names = [names] if isinstance(names, str) else list(names)
    if fields.get("intra_op_threads") is None:
        fields["intra_op_threads"] = config.experiment.threads if config else 1
    fields |= {field: given[word] for word, field in _SETTINGS.items() if word in given}
    if "provider" in given:
        fields["providers"] = given["provider"]
    if "affinity" in given:
        fields["affinity"] = parse_processors(given["affinity"])
    options = fields.pop("options", {})
    pairs = tuple(sorted((name, _option(value)) for name, value in options.items()))
    fields["options"] = parse_pairs(given["option"]) if "option" in given else pairs
    for name in ("providers", "affinity"):
        fields[name] = tuple(fields.get(name, ()))
    if fields.get("require_provider") and not fields["providers"]:
        raise InvalidInputError(
            "a provider is required but none is named.", next_step="Name it with --provider."
        )
    first = RuntimeSettings(runtime=names[0], **fields)
    return first, tuple(replace(first, runtime=name) for name in names[1:])


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

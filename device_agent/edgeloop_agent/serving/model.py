"""One version of a deployment, loaded, warmed and proved: which batches it takes, and that rows do not mix in them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from edgeloop_foundation.errors import (
    CorruptDataError,
    InternalError,
    MissingDependencyError,
    UnsupportedError,
)
from edgeloop_protocol.types.artifact import Artifact, TensorSpec
from edgeloop_protocol.types.deployment import NO_LIMITS, ModelLimits
from edgeloop_protocol.types.serving import ServingSpec
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.containment import STEP_S_MAX
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.golden import GoldenPack, zero_states
from edgeloop_agent.runner.runtimes import RUNTIMES
from edgeloop_agent.runner.runtimes.base import LoadedModel
from edgeloop_agent.serving.drift import DriftWatch, watch_of
from edgeloop_agent.serving.steps import Steps
from edgeloop_agent.serving.tensors import Array, datatype_of
from edgeloop_agent.slots import Slot, SlotFiles

__all__ = ["Feeds", "LoadedSlot", "ServedModel", "load_slot", "warm", "watch"]

Feeds = Mapping[str, Array]

_WARM_UP = 3
_TIMED = 5
# Of two sizes that are about as fast per row, the larger one leaves fewer requests waiting.
_AS_FAST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSlot:
    """The files of a slot, verified, and the model that a runtime made of them."""

    #: The slot.
    slot: Slot
    #: Its manifest.
    artifact: Artifact
    #: The open model.
    loaded: LoadedModel
    #: Its golden inputs.
    golden: GoldenPack
    #: What was signed for it.
    limits: ModelLimits = NO_LIMITS
    #: Where its runs are noted; None where nobody watches over them.
    steps: Steps | None = None

    def golden_feed(self, item: int, batch_size: int = 1) -> dict[str, Array]:
        """Return golden inputs, carried states at zero."""
        return {
            **self.golden.feed(item, 0, batch_size),
            **zero_states(self.artifact, batch_size),
        }


def load_slot(files: SlotFiles, name: str, text: str, threads: int, steps: Steps | None = None) -> LoadedSlot:
    """Verify a slot byte by byte and open its model.

    Raises:
        EdgeloopError: it is not what was signed, or does not open here.
    """
    artifact = files.verify(name, text)
    directory = files.directory(name, text)
    settings = RuntimeSettings(runtime=_runtime_of(files, name, text, artifact), intra_op_threads=threads)
    for spec in (*artifact.inputs, *artifact.outputs):
        datatype_of(spec.dtype)
    loaded = RUNTIMES.load(settings.runtime)().load(directory, artifact, settings)
    golden = GoldenPack(directory, artifact, item_count_max=2)
    limits = files.limits(name, text)
    return LoadedSlot(
        slot=Slot.parse(text), artifact=artifact, loaded=loaded, golden=golden, limits=limits, steps=steps
    )


def _runtime_of(files: SlotFiles, name: str, text: str, artifact: Artifact) -> str:
    record = files.record(name)
    if record.slot == text:
        return record.runtime
    # The record tells of the last installation, and what serves may be an earlier one.
    for known in RUNTIMES.names():
        with contextlib.suppress(MissingDependencyError):
            if artifact.format in RUNTIMES.load(known).formats:
                return known
    raise UnsupportedError(f"no runtime of this agent opens the format {artifact.format!r}.")


class ServedModel:
    """One version that answers; ``run`` may be called by any thread.

    Args:
        version: the open slot.
        batch_limit: largest batch that is formed of several requests.
        unbatched: why no batch is formed; empty when one is.
    """

    def __init__(self, version: LoadedSlot, batch_limit: int, unbatched: str) -> None:
        artifact = version.artifact
        self.slot, self.batch_limit, self.unbatched = version.slot, batch_limit, unbatched
        #: Sketches of what goes in and out; None when drift is not watched.
        self.watch: DriftWatch | None = None
        #: What most of its arithmetic is in.
        self.precision = artifact.precision
        self.inputs: dict[str, TensorSpec] = {spec.name: spec for spec in artifact.inputs}
        self.outputs: tuple[TensorSpec, ...] = artifact.outputs
        self.output_names = version.loaded.output_names
        self.platform = f"{artifact.format}_{version.loaded.providers[0]}" if version.loaded.providers else ""
        self._loaded, self._execute = version.loaded, version.loaded.executor()
        self._steps, self._run_s_max = version.steps, float(version.limits.step_s_max or STEP_S_MAX)
        self._what = f"a run of release {self.slot.counter} takes longer than {self._run_s_max:.0f} s"

    @property
    def version(self) -> str:
        """Counter of the release, as the protocol names versions."""
        return str(self.slot.counter)

    def run(self, feeds: Feeds) -> Sequence[Array]:
        """Run one inference and return the outputs in the order of ``output_names``.

        Raises:
            InternalError: the runtime failed.
        """
        steps, number = self._steps, 0
        if steps is not None:
            number = steps.begin(self._run_s_max, self._what)
        try:
            outputs = self._execute(feeds)
        except RunnerFailure as failure:
            raise InternalError(failure.reason) from failure
        except Exception as error:
            raise InternalError(self._loaded.explain(error).reason) from error
        finally:
            if steps is not None:
                steps.end(number)
        return [np.asarray(output) for output in outputs]


def warm(version: LoadedSlot, spec: ServingSpec) -> ServedModel:
    """Run golden inputs until every batch size that will be formed has run, and return the model.

    Raises:
        CorruptDataError: the outputs are not those that the manifest names.
        InternalError: the runtime failed.
    """
    alone = ServedModel(version, 1, "")
    for _ in range(_WARM_UP):
        outputs = alone.run(version.golden_feed(0))
    named = {output.name for output in version.artifact.outputs}
    if set(alone.output_names) != named or any(output.dtype == object for output in outputs):
        raise CorruptDataError(
            f"the model returns {', '.join(alone.output_names)}, its manifest names {', '.join(sorted(named))}."
        )
    unbatched = "batches are turned off" if spec.batch_max == 1 else _why_unbatched(alone, version)
    limit = 1 if unbatched else _limit(alone, version, spec)
    if not unbatched and limit == 1:
        unbatched = "one row at a time is the fastest within the time that a batch may take"
    return ServedModel(version, limit, unbatched)


def watch(files: SlotFiles, name: str, version: LoadedSlot) -> DriftWatch:
    """Return what counts how far requests are from the golden pack of a version."""
    directory = files.directory(name, version.slot.text)
    return watch_of(version.artifact, GoldenPack(directory, version.artifact))


def _why_unbatched(model: ServedModel, version: LoadedSlot) -> str:
    """Return why rows of several requests cannot share a run; empty when they can, which two golden rows have shown."""
    artifact = version.artifact
    if artifact.state:
        return "the model carries state"
    if any(spec.shape[:1] != (-1,) for spec in (*artifact.inputs, *artifact.outputs)):
        return "the model has no free batch axis"
    if version.golden.item_count < 2:
        return "the golden pack holds one item, too few to see whether rows mix"
    try:
        singles = [version.golden_feed(item) for item in range(2)]
        apart = [model.run(feed) for feed in singles]
        together = model.run(
            {name: np.concatenate([feed[name] for feed in singles]) for name in model.inputs}
        )
    except (InternalError, RunnerFailure, ValueError) as error:
        return f"two rows together fail: {error}"
    for name, first, second, both in zip(model.output_names, *apart, together, strict=True):
        if not _same(np.concatenate([first, second]), both):
            return f"the output {name!r} of a row changes with the other rows of its batch"
    return ""


def _same(apart: Array, together: Array) -> bool:
    if apart.shape != together.shape:
        return False
    if apart.dtype.kind != "f":
        return bool(np.array_equal(apart, together))
    # Products of other shapes are summed up in another order; a scale that the batch decides moves far more.
    relative = max(1e-4, 10 * float(np.finfo(apart.dtype).eps))
    largest = float(np.max(np.abs(apart), initial=0.0))
    return bool(np.allclose(apart, together, rtol=0, atol=relative * largest + 1e-7, equal_nan=True))


def _limit(model: ServedModel, version: LoadedSlot, spec: ServingSpec) -> int:
    """Return the batch size of the best throughput among those that run within the time."""
    sizes = sorted({*(1 << power for power in range(spec.batch_max.bit_length())), spec.batch_max})
    rates: dict[int, float] = {}
    for size in sizes:
        feed = version.golden_feed(0, size)
        model.run(feed)
        # The least: whatever else runs here only adds, and does so to one size and not to the next.
        took_s = min(_time_s(model, feed) for _ in range(_TIMED))
        if size > 1 and took_s > spec.batch_s_max:
            break
        rates[size] = size / took_s
    return max(size for size, rate in rates.items() if rate >= _AS_FAST * max(rates.values()))


def _time_s(model: ServedModel, feed: Feeds) -> float:
    before = time.perf_counter()
    model.run(feed)
    return time.perf_counter() - before

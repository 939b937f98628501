"""Candidates on several runtimes: each further runtime makes a variant of every candidate that was built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.orchestrate.measure import variant_label

__all__ = ["require_distinct_runtimes", "with_variants"]


def require_distinct_runtimes(settings: RuntimeSettings, variants: Sequence[RuntimeSettings]) -> None:
    """Refuse one runtime twice: trials are told apart by it.

    Raises:
        InvalidInputError: see above.
    """
    names = [settings.runtime, *(variant.runtime for variant in variants)]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise InvalidInputError(f"the runtime {twice!r} is named twice.", next_step="Name each one once.")


def with_variants(
    candidates: Sequence[Candidate],
    settings: RuntimeSettings,
    variants: Sequence[RuntimeSettings],
    forms: Sequence[tuple[str, str, str]] = (),
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Candidate, ...]:
    """Return the candidates, each with its runtime, followed by their variants; without variants as they are.

    A variant whose runtime opens another form of the artifact is that form, with its size; where there is none, it is
    left out.
    """
    known = {(digest, runtime): form for digest, runtime, form in forms}
    if not variants:
        return tuple(candidates)
    first = tuple(replace(candidate, runtime=settings.runtime) for candidate in candidates)
    further = (
        replace(
            candidate,
            label=variant_label(candidate.label, variant, settings),
            runtime=variant.runtime,
            variant=True,
            artifact_digest=form,
            size_bytes=sizes.get(form, candidate.size_bytes),
        )
        for variant in variants
        for candidate in candidates
        if candidate.state is CandidateState.BUILT
        and (form := known.get((candidate.artifact_digest, variant.runtime), candidate.artifact_digest))
    )
    return (*first, *further)

"""A model judged on labelled data by itself: per class, what is taken for what, and how steady its numbers are."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop.domain.quality import Quality

__all__ = ["ClassScore", "Confusion", "Judgement", "OutputStability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How one class is told from the others."""

    #: Index of the class.
    label: int
    #: Items of this class.
    support: int
    #: Of those decided for it, the share that is of it; None when none was.
    precision: float | None
    #: Of those that are of it, the share decided for it; None when there is none.
    recall: float | None
    #: Harmonic mean of both; None where it has no meaning.
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Items of one class decided for another."""

    label: int
    decided: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStability:
    """How steady the numbers of one output are."""

    output: str
    #: Values looked at.
    value_count: int
    nan_count: int
    infinite_count: int
    #: Largest finite magnitude; None without a finite value.
    largest: float | None
    #: Largest difference between an item alone and the same item in a batch, relative to the largest magnitude;
    #: None where the model takes no batches.
    batch_difference: float | None
    #: Whether a second run gave the same bits.
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is known of a model's answers."""

    #: Name for people.
    model: str
    #: The metric with its intervals; beside the other model's where one was named, else beside itself.
    quality: Quality
    #: Every class that is among the labels or decisions; empty where nothing is decided.
    classes: tuple[ClassScore, ...]
    #: Every wrong pair, most frequent first.
    confusions: tuple[Confusion, ...]
    #: One entry an output of real numbers.
    stability: tuple[OutputStability, ...]

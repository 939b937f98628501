"""Limits that a profile's fields carry in their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

__all__ = [
    "Bounds",
    "Choice",
    "Count",
    "Encoding",
    "Fraction",
    "IsaTier",
    "KernelClass",
    "Kind",
    "NotNegative",
    "Positive",
    "Precision",
    "Ratio",
    "Text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a field may hold; states it in words."""

    #: Smallest value allowed.
    minimum: float | None = None
    #: Values above this are allowed, this one is not.
    above: float | None = None
    #: Largest value allowed.
    maximum: float | None = None
    #: Whether an empty text is allowed.
    empty: bool = True

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is within."""
        if isinstance(value, str):
            return self.empty or bool(value.strip())
        if not isinstance(value, int | float):
            return True
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
        )

    def __str__(self) -> str:
        parts = [
            f"at least {self.minimum:g}" if self.minimum is not None else "",
            f"above {self.above:g}" if self.above is not None else "",
            f"at most {self.maximum:g}" if self.maximum is not None else "",
            "" if self.empty else "that is not empty",
        ]
        return " and ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these words."""

    values: tuple[str, ...]

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.values)


Count = Annotated[int, Bounds(minimum=1)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(minimum=0)]
Fraction = Annotated[float, Bounds(minimum=0, maximum=1)]
Ratio = Annotated[float, Bounds(minimum=1)]
Text = Annotated[str, Bounds(empty=False)]
Kind = Annotated[str, Choice(("datasheet", "literature", "assumed", "fitted"))]
IsaTier = Annotated[
    str,
    Choice(
        (
            "neon",
            "neon_fp16",
            "neon_dotprod",
            "neon_i8mm",
            "sse4",
            "avx2",
            "avx2_vnni",
            "avx512_vnni",
            "wasm_simd",
        )
    ),
]
Precision = Annotated[str, Choice(("fp32", "fp16", "int8"))]
KernelClass = Annotated[
    str,
    Choice(
        (
            "conv",
            "conv1x1",
            "depthwise",
            "gemm",
            "matmul",
            "recurrent",
            "elementwise",
            "pool",
            "reduce",
            "resize",
            "layout",
            "quantize",
            "other",
        )
    ),
]
Encoding = Annotated[str, Choice(("U8S8", "S8S8", "U8U8", "S8U8"))]

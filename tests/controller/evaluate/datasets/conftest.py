from __future__ import annotations

from collections.abc import Callable

import pytest
from edgeloop.domain.model import ModelDescription
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec


def spec(name: str, shape: tuple[int, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.fixture
def model() -> Callable[..., ModelDescription]:
    def make(
        *inputs: tuple, outputs: tuple = (("scores", (-1, 3)),), state: tuple[StateBinding, ...] = ()
    ) -> ModelDescription:
        return ModelDescription(
            name="tiny",
            format="onnx",
            digest="0" * 64,
            size_bytes=100,
            inputs=tuple(spec(*i) for i in inputs),
            outputs=tuple(spec(*o) for o in outputs),
            opsets=(("", 17),),
            ir_version=8,
            parameter_count=1,
            operator_counts=(),
            precision="fp32",
            quantized=False,
            state=state,
        )

    return make

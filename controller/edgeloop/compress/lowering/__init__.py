"""A model as the kernels that really execute: what every predictor works on.

Law: the kernel table comes from what ONNX Runtime executed, never from what the file says. Graph
optimisation is "extended": layouts that exist on one instruction set only are left out, so that the table
holds for any board.
"""

from edgeloop.compress.lowering.lower import NO_LOWERING, Lowering, lower
from edgeloop.compress.lowering.profile import Execution, profile

__all__ = ["NO_LOWERING", "Execution", "Lowering", "lower", "profile"]

"""Inference runtimes, one file each.

Law: drivers are imported by name only, so that naming one does not import the others; runs in the runner alone.
"""

from __future__ import annotations

from edgeloop_foundation.registry import Registry

from edgeloop_agent.runner.runtimes.base import Runtime

__all__ = ["BUILTIN", "RUNTIMES"]

BUILTIN = {
    "onnxruntime": "edgeloop_agent.runner.runtimes.onnxruntime:OnnxRuntime",
    "litert": "edgeloop_agent.runner.runtimes.litert:LiteRt",
    "openvino": "edgeloop_agent.runner.runtimes.openvino:OpenVino",
    "executorch": "edgeloop_agent.runner.runtimes.executorch:ExecuTorch",
    "tensorrt": "edgeloop_agent.runner.runtimes.tensorrt:TensorRt",
}
"""Name to driver of every built-in runtime."""

RUNTIMES: Registry[Runtime] = Registry("runtimes", BUILTIN)
"""Every runtime that this agent knows, plug-ins included."""

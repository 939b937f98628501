"""The few calls of the CUDA runtime that a driver needs, over ``cuda-python``. Not run on hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeloop_agent.runner.runtime_settings import refuse

__all__ = ["Cuda"]

_DRIVER_FILE = Path("/sys/module/nvidia/version")


class Cuda:
    """One device and one stream; errors are exceptions.

    Raises:
        RunnerFailure: no binding is installed.
    """

    def __init__(self, device: int = 0) -> None:
        self._api = _bindings()
        self.device = device
        self._stream: Any = None

    def device_count(self) -> int:
        """Return how many devices there are."""
        return int(self._call("cudaGetDeviceCount"))

    def start(self, *, spin: bool) -> None:
        """Take the device; the processor spins while it waits, or sleeps."""
        self._call("cudaSetDevice", self.device)
        name = "cudaDeviceScheduleSpin" if spin else "cudaDeviceScheduleBlockingSync"
        self._call("cudaSetDeviceFlags", getattr(self._api, name))
        self._stream = self._call("cudaStreamCreate")

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)

    def describe(self) -> tuple[str, str, str]:
        """Return the device's name, compute capability and driver."""
        found = self._call("cudaGetDeviceProperties", self.device)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        driver = f"CUDA {self._call('cudaDriverGetVersion')}"
        try:
            driver += f" nvidia {_DRIVER_FILE.read_text().strip()}"
        except OSError:
            driver += " nvidia unknown"
        return name.strip("\0 "), f"{found.major}.{found.minor}", driver

    def allocate(self, size_bytes: int) -> int:
        """Return the address of fresh memory on the device."""
        return int(self._call("cudaMalloc", max(1, size_bytes)))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def upload(self, address: int, array: Any) -> None:
        """Queue a copy of a contiguous array to the device."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def download(self, array: Any, address: int) -> None:
        """Queue a copy from the device into a contiguous array."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Wait until everything queued is done."""
        self._call("cudaStreamSynchronize", self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime, which answers with its status and then its result."""
        status, *results = getattr(self._api, name)(*arguments)
        if int(status) != 0:
            raise RuntimeError(f"{name} failed: {getattr(status, 'name', status)}")
        return results[0] if results else None


def _bindings() -> Any:
    """Return the module of the CUDA runtime under its new or its old name."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart
        except ImportError as error:
            raise refuse(f"the package cuda-python cannot be imported: {error}") from error
        return cudart
    return runtime

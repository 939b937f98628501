"""The public client, tritonclient, unmodified; runs in an environment of its own, as its protobuf is older than ours.

    PYTHON scripts/bench/triton_client.py check GRPC HTTP MODEL FEATURES
    PYTHON scripts/bench/triton_client.py load PROTOCOL ADDRESS MODEL SIDE SECONDS SEED

``check`` asks a model that doubles its input for everything that the protocol has, errors included. ``load`` infers
without a pause for some seconds, tries a failed request once more, and compares every answer with that of a version
before it, by the request's number. Both print one JSON document.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException


def _refusal(ask: Any) -> str:
    try:
        ask()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "no error"


def _infer(module: Any, client: Any, model: str, x: Any, **more: Any) -> Any:
    given = module.InferInput("x", list(x.shape), "FP32")
    given.set_data_from_numpy(x)
    return client.infer(model, [given], **more)


def check(module: Any, client: Any, model: str, features: int) -> dict[str, Any]:
    """Return what one protocol answers."""
    x = np.arange(2 * features, dtype=np.float32).reshape(2, features)
    metadata = client.get_model_metadata(model)
    server = client.get_server_metadata()
    if module is over_grpc:
        metadata = {
            "name": metadata.name,
            "inputs": [
                {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
                for one in metadata.inputs
            ],
        }
        server = {"name": server.name}
    all_outputs = _infer(module, client, model, x)
    one_output = _infer(
        module, client, model, x, request_id="seven", outputs=[module.InferRequestedOutput("y")]
    )
    told = one_output.get_response()
    identifier = told.id if module is over_grpc else told["id"]
    too_large = np.zeros((1 << 20, features), np.float32)
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(model),
        "other_ready": client.is_model_ready("other"),
        "server": server["name"],
        "name": metadata["name"],
        "inputs": metadata["inputs"],
        "doubled": bool(np.array_equal(all_outputs.as_numpy("y"), 2 * x)),
        "one_doubled": bool(np.array_equal(one_output.as_numpy("y"), 2 * x)),
        "id": identifier,
        "unknown": _refusal(lambda: _infer(module, client, "other", x)),
        "shape": _refusal(lambda: _infer(module, client, model, x[:, 1:].copy())),
        "output": _refusal(
            lambda: _infer(module, client, model, x, outputs=[module.InferRequestedOutput("z")])
        ),
        "large": _refusal(lambda: _infer(module, client, model, too_large)),
        "after": bool(np.array_equal(_infer(module, client, model, x).as_numpy("y"), 2 * x)),
    }


def load(module: Any, client: Any, model: str, side: int, seconds: float, seed: int) -> dict[str, Any]:
    """Return what a closed loop of requests saw."""
    x = np.random.default_rng(seed).standard_normal((1, 3, side, side)).astype(np.float32)
    known: dict[str, Any] = {}
    retried = failed = torn = 0
    errors: list[str] = []
    times: list[float] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for attempt in range(2):
            before = time.perf_counter()
            try:
                result = _infer(module, client, model, x)
            except Exception as error:
                errors.append(str(error)[:200])
                retried, failed = (retried + 1, failed) if attempt == 0 else (retried, failed + 1)
                continue
            times.append(time.perf_counter() - before)
            told = result.get_response()
            version = told.model_version if module is over_grpc else told["model_version"]
            y = result.as_numpy("y")
            first = known.setdefault(version, y)
            # Other rows of a batch change the order of sums, not the answer.
            torn += not np.allclose(first, y, rtol=1e-3, atol=1e-4)
            break
    return {
        "requests": len(times),
        "versions": sorted(known),
        "retried": retried,
        "failed": failed,
        "torn": torn,
        "errors": errors[:3],
        "answers": {version: y.ravel()[:3].tolist() for version, y in known.items()},
        "p50_s": float(np.median(times)) if times else None,
        "p99_s": float(np.quantile(times, 0.99)) if times else None,
    }


def main() -> int:
    """Do what the arguments say."""
    word, *rest = sys.argv[1:]
    if word == "check":
        grpc_address, http_address, model, features = rest
        pairs = ((over_grpc, grpc_address), (over_http, http_address))
        found = {}
        for module, address in pairs:
            with module.InferenceServerClient(address) as client:
                found[module.__name__.rpartition(".")[2]] = check(module, client, model, int(features))
    else:
        protocol, address, model, side, seconds, seed = rest
        module = over_grpc if protocol == "grpc" else over_http
        with module.InferenceServerClient(address) as client:
            found = load(module, client, model, int(side), float(seconds), int(seed))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

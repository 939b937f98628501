"""The table of methods: who may call each one. What is not in it is denied to everybody.

==============  ==============================================================================================
observer        sees how the device is and what it does; no model, no result, no change
controller      everything that a service offers
device          nothing: devices do not talk to each other
local           the owner of the Unix socket (and root): everything, as they own the agent's files anyway
nobody          nothing: a connection without a certificate, or with one that names no role of this fleet
==============  ==============================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["RULES", "Caller", "is_allowed"]


class Caller(enum.Enum):
    """What somebody who calls is to this agent."""

    NOBODY = "nobody"
    OBSERVER = "observer"
    CONTROLLER = "controller"
    DEVICE = "device"
    LOCAL = "local"


_LOOK = frozenset({Caller.OBSERVER, Caller.CONTROLLER, Caller.LOCAL})
_ACT = frozenset({Caller.CONTROLLER, Caller.LOCAL})

_BY_SERVICE: Mapping[str, Mapping[str, frozenset[Caller]]] = {
    "edgeloop.v1.DeviceService": {"SayHello": _LOOK, "Describe": _LOOK, "GetVitals": _LOOK},
    "edgeloop.v1.LeaseService": {
        "Acquire": _ACT,
        "Renew": _ACT,
        "Release": _ACT,
        "ListLeases": _LOOK,
        "Drain": _ACT,
        "Undrain": _ACT,
        "SetCoolDown": _ACT,
    },
    "edgeloop.v1.JobService": {
        "Submit": _ACT,
        "Watch": _LOOK,
        "Cancel": _ACT,
        "GetJob": _LOOK,
        "ListQuarantine": _LOOK,
        "ClearQuarantine": _ACT,
    },
    "edgeloop.v1.SpoolService": {"Fetch": _ACT, "Acknowledge": _ACT},
    "edgeloop.v1.IdentityService": {
        "GetIdentity": _LOOK,
        "RequestCertificate": _ACT,
        "InstallCertificate": _ACT,
        "UpdateTrust": _ACT,
    },
    "edgeloop.v1.DeploymentService": {
        "PinRoot": _ACT,
        "Deploy": _ACT,
        "Rollback": _ACT,
        "CancelDeployment": _ACT,
        "ListDeployments": _LOOK,
        "AttestDeployment": _ACT,
    },
    "edgeloop.v1.ServingService": {"Serve": _ACT, "StopServing": _ACT, "ListServing": _LOOK},
    "edgeloop.v1.TelemetryService": {"ReadTelemetry": _LOOK, "ReadRequestLog": _ACT},
    # Blobs are models and raw samples.
    "google.bytestream.ByteStream": {"Read": _ACT, "Write": _ACT, "QueryWriteStatus": _ACT},
    "build.bazel.remote.execution.v2.ContentAddressableStorage": {
        "FindMissingBlobs": _ACT,
        "SpliceBlob": _ACT,
    },
    "grpc.health.v1.Health": {"Check": _LOOK, "List": _LOOK, "Watch": _LOOK},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _LOOK},
}

RULES: Mapping[str, frozenset[Caller]] = {
    f"/{service}/{method}": callers
    for service, methods in _BY_SERVICE.items()
    for method, callers in methods.items()
}
"""Full method name, as in a request's path -> who may call it."""


def is_allowed(caller: Caller, method: str) -> bool:
    """Return whether a rule lets this caller call this method."""
    return caller in RULES.get(method, frozenset())

"""One TLS handshake of our own before gRPC's, because gRPC calls every refusal a closed socket.

What can be wrong is told apart: nobody listens, no TLS there, a certificate that ran out or is not valid yet, a clock
that is off (ours or the device's), another authority, the wrong role, another name, a revoked key, and our own
certificate being refused. A revoked key of ours passes here; the agent's answer to the first call says so.
"""

from __future__ import annotations

import socket
import ssl
from datetime import datetime, timezone

from edgeloop_foundation.errors import (
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from edgeloop_protocol.certificate import certificates_in, read_certificate

from edgeloop.transport.rpc.channel import TlsFiles

__all__ = ["check_tls"]

_CONNECT_S = 10.0
# Under TLS 1.3 a server refuses our certificate after our side of the handshake is done; a server that took
# it sends its HTTP/2 settings at once. On a link of 2 s each way that is 4 s later, on one that loses packets more.
_VERDICT_S = 15.0
# A server of gRPC refuses without a word, and a connection that breaks just then looks the same; it does not break so
# three times in a row.
_SILENCES = 3

# Verification results of OpenSSL (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED, _BAD_PURPOSE = 9, 10, 26
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21, 27})
_NAME_MISMATCH = frozenset({62, 64})


def check_tls(device: str, host: str, port: int, tls: TlsFiles) -> None:
    """Make one handshake as gRPC would and say in one sentence what is wrong with it, if anything.

    Raises:
        UnavailableError: nobody listens there, or not with TLS.
        DeadlineError: nobody answers.
        UnauthenticatedError: one of the two certificates is not accepted; the sentence says which and why.
        InvalidInputError: one of our own files is unusable.
    """
    for path in (tls.ca, tls.certificate, tls.key):
        tls.read(path)
    ours = _flaw_of_ours(tls)
    if ours in (_EXPIRED, _NOT_YET_VALID, _BAD_PURPOSE):
        raise _about_ours(device, tls, ours)
    suspicion = _look(device, host, port, tls, ours)
    for _ in range(_SILENCES - 1):
        if suspicion is None:
            return
        suspicion = _look(device, host, port, tls, ours)
    if suspicion is not None:
        raise suspicion


def _look(device: str, host: str, port: int, tls: TlsFiles, ours: int) -> EdgeloopError | None:
    """Make the handshake; return what a connection that ended without a word would mean if the device ended it.

    Raises:
        EdgeloopError: what is wrong for certain.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), _CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=tls.server_name or host) as secured,
        ):
            secured.settimeout(_VERDICT_S)
            theirs = secured.getpeercert(binary_form=True) or b""
            taken = bool(secured.recv(1))
    except ssl.SSLCertVerificationError as error:
        raise _about_theirs(device, tls, error) from error
    except ssl.SSLError as error:
        if "EOF" in (error.reason or ""):
            return _about_ours(device, tls, ours)
        raise _from_alert(device, tls, error) from error
    except TimeoutError as error:
        raise DeadlineError(
            f"{device}: nobody answers at {host}:{port}.",
            next_step="See whether the device is on and no firewall is in between.",
        ) from error
    except (ConnectionResetError, BrokenPipeError):
        return _about_ours(device, tls, ours)
    except OSError as error:
        raise UnavailableError(
            f"{device} cannot be reached at {host}:{port}: {error.strerror or error}.",
            next_step="See whether the device is on and its agent listens there.",
        ) from error
    if not taken:
        return _about_refusal(device, tls, ours, theirs)
    if read_certificate(theirs).public_key in tls.revoked:
        raise UnauthenticatedError(
            f"{device}: its key is revoked.", next_step="If it is to be trusted again, enrol it anew."
        )
    return None


def _context(protocol: int, tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise InvalidInputError(f"tls_ca {tls.ca} holds no PEM certificate.") from error
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise InvalidInputError(
            f"tls_certificate {tls.certificate} and tls_key {tls.key} are not a PEM certificate and its key."
        ) from error
    return context


def _flaw_of_ours(tls: TlsFiles) -> int:
    """Return what a server with our authority would find wrong with our certificate; 0 for nothing.

    Both ends of a handshake in memory show our certificate; the one that plays the server verifies it.
    """
    server, client = _context(ssl.PROTOCOL_TLS_SERVER, tls), _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    server.verify_mode = ssl.CERT_REQUIRED
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (server.wrap_bio(upward, downward, server_side=True), client.wrap_bio(downward, upward))
    flaws = (_step(end) for _ in range(4) for end in ends)
    return next((flaw for flaw in flaws if flaw), 0)


def _step(end: ssl.SSLObject) -> int:
    try:
        end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return int(error.verify_code)
    except ssl.SSLError:
        return 0  # it waits for the other end, or this is not about the certificate
    return 0


def _about_theirs(device: str, tls: TlsFiles, error: ssl.SSLCertVerificationError) -> EdgeloopError:
    now, code = _now(), error.verify_code
    if _clock_is_behind(tls) and code in (_EXPIRED, _NOT_YET_VALID):
        found, step = (
            f"cannot be judged: this machine's clock says {now}, which has passed",
            "Set this machine's clock right.",
        )
    elif code == _BAD_PURPOSE:
        found, step = (
            "was not issued for a device (wrong role)",
            "See which machine answers there; a device is enrolled with edgeloop device enrol.",
        )
    elif code == _EXPIRED:
        found, step = (
            f"has expired (this clock says {now})",
            "Renew it on the device, or set this clock right.",
        )
    elif code == _NOT_YET_VALID:
        found, step = f"is not valid yet (this clock says {now})", "Set the clocks of both machines right."
    elif code in _UNKNOWN_ISSUER:
        found, step = (
            "was not signed by the authority in tls_ca",
            "Use the authority that enrolled the device.",
        )
    elif code in _NAME_MISMATCH:
        found, step = (
            f"is for another name: {error.verify_message.rstrip('.')}",
            "Another device answers there; see its address. With files of your own, give tls_server_name.",
        )
    else:
        found, step = f"is not accepted: {error.verify_message}", "Have a new one issued."
    return UnauthenticatedError(f"{device}: its certificate {found}.", next_step=step)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _clock_is_behind(tls: TlsFiles) -> bool:
    return datetime.now(timezone.utc).timestamp() < tls.time_floor_s


def _about_ours(device: str, tls: TlsFiles, flaw: int) -> EdgeloopError:
    found, step = {
        _EXPIRED: ("has expired", "Have a new one issued (edgeloop ca renew), or set this clock right."),
        _NOT_YET_VALID: ("is not valid yet", "Set this machine's clock right."),
        _BAD_PURPOSE: ("was not issued for clients", "Have one issued with clientAuth."),
        20: (
            "was not signed by the authority in tls_ca",
            "Use a certificate that the device's authority signed.",
        ),
    }.get(
        flaw,
        (
            "was refused by the device",
            "See whether the device trusts its authority and whether its clock is right.",
        ),
    )
    return UnauthenticatedError(f"{device}: our certificate {tls.certificate} {found}.", next_step=step)


def _about_refusal(device: str, tls: TlsFiles, flaw: int, theirs: bytes) -> EdgeloopError:
    """Return why a device that proved who it is closes the connection when it sees our certificate.

    A server of gRPC closes without a word. What a sound certificate is refused for is then either the device's
    clock, or an authority that it has not been told about.
    """
    ours = certificates_in(tls.read(tls.certificate).decode("utf-8", "replace"))
    if flaw or not ours:
        return _about_ours(device, tls, flaw)
    if read_certificate(ours[0]).issuer != read_certificate(theirs).issuer:
        return UnauthenticatedError(
            f"{device}: our certificate {tls.certificate} is of another authority than the device's own, and the "
            "device refuses it.",
            next_step="Was the authority rolled over? Tell the device from a controller that it still trusts.",
        )
    return UnauthenticatedError(
        f"{device}: its clock is probably off: it refuses our certificate {tls.certificate}, which is valid by this "
        f"clock ({_now()}) and of the authority that signed the device's own.",
        next_step="Set the device's clock right; a board without a network wakes up in the past. If it is right, "
        "enrol the device anew.",
    )


_ALERTS = {
    "EXPIRED": "has expired by the device's clock",
    "UNKNOWN_CA": "was signed by an authority that the device does not know",
    "CERTIFICATE_REQUIRED": "did not reach the device, which wants one",
    "BAD_CERTIFICATE": "is not accepted by the device",
    "CERTIFICATE_UNKNOWN": "is not accepted by the device",
    "UNSUPPORTED_CERTIFICATE": "is of a kind that the device does not accept",
    "REVOKED": "is revoked",
}


def _from_alert(device: str, tls: TlsFiles, error: ssl.SSLError) -> EdgeloopError:
    reason = error.reason or ""
    for part, found in _ALERTS.items():
        if "ALERT" in reason and part in reason:
            return UnauthenticatedError(
                f"{device}: our certificate {tls.certificate} {found}.",
                next_step="Have one issued by the device's authority; see that both clocks are right.",
            )
    return UnavailableError(
        f"{device}: no TLS handshake is possible there: {reason.replace('_', ' ').lower() or error}.",
        next_step="See whether the agent listens with TLS on that port.",
    )

"""Who may do what over HTTP, checked before any route: host, caller, role, and that no other site asks.

A caller proves itself by a token (``Authorization: Bearer``), by a cookie that was given for a token, or by a client
certificate of the fleet. Cookies and certificates are sent by a browser whoever made it ask; to change something with
them a caller also shows the word that only our own pages know.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from edgeloop_foundation.errors import (
    AccessDeniedError,
    EdgeloopError,
    InvalidInputError,
    UnauthenticatedError,
)
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeloop.interfaces.web.errors import error_response
from edgeloop.store.serve_home import Tokens
from edgeloop.store.uploads import UPLOAD_BYTES_MAX

__all__ = ["CSRF_HEADER", "PEER", "Access", "Caller", "Gate", "Role"]

PEER = "edgeloop.peer"
"""Key of the scope under which the server puts the identity in a client's certificate."""

CSRF_HEADER = "x-edgeloop-csrf"
_SESSION_S = 12 * 3600
_BODY_BYTES_MAX = 64 << 10
_LARGE_BODIES = (("PUT", "/api/v1/uploads/", UPLOAD_BYTES_MAX), ("POST", "/api/v1/experiments", 8 << 20))
"""Method, beginning of the path and most bytes of the requests that may be larger."""

_LOOKING = ("GET", "HEAD")
_OPEN_TO_ALL = ("/login", "/healthz", "/api/v1/session")
_COOKIE = "edgeloop_session"

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The chart library writes styles into the page; scripts still come from here alone.
_REPORT_POLICY = _PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "img-src 'self' data:", "img-src 'self' data: blob:"
)


class Role(enum.Enum):
    """What a caller may do."""

    OBSERVER = "observer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who proved who it is."""

    role: Role
    #: For the audit log: "operator token", or the identity in a certificate.
    name: str
    #: Whether a browser adds the proof by itself.
    ambient: bool = False


class Access:
    """Proofs and what they stand for; holds no state of callers.

    Args:
        tokens: what callers prove themselves with.
        hosts: values of Host that are ours, without port; of others, a page on another site may have been the reason.
        wall_s: time.
    """

    def __init__(
        self, tokens: Tokens, hosts: Collection[str], *, secure: bool, wall_s: Callable[[], float] = time.time
    ) -> None:
        self._tokens = {Role.OPERATOR: tokens.operator, Role.OBSERVER: tokens.observer}
        self._hosts = frozenset(host.lower() for host in hosts)
        self._wall_s = wall_s
        #: Whether the connection is encrypted, so that cookies are sent over such ones only.
        self.secure = secure

    def by_token(self, token: str) -> Caller | None:
        """Return whose token it is; None for nobody's."""
        for role, known in self._tokens.items():
            if hmac.compare_digest(token.encode(), known.encode()):
                return Caller(role=role, name=f"{role.value} token")
        return None

    def session(self, role: Role) -> str:
        """Return a cookie that stands for a role's token for some hours, and dies with that token."""
        ends = str(int(self._wall_s()) + _SESSION_S)
        return f"{role.value}.{ends}.{self._mac(role, f'session {ends}')}"

    def by_session(self, cookie: str) -> Caller | None:
        """Return whose cookie it is; None for a changed or old one."""
        role_word, _, rest = cookie.partition(".")
        ends, _, mac = rest.partition(".")
        role = next((role for role in Role if role.value == role_word), None)
        if role is None or not ends.isascii() or not ends.isdecimal() or int(ends) < self._wall_s():
            return None
        good = hmac.compare_digest(mac.encode(), self._mac(role, f"session {ends}").encode())
        return Caller(role=role, name=f"{role.value} token", ambient=True) if good else None

    def csrf(self, caller: Caller) -> str:
        """Return the word that our pages send along with what changes something."""
        return self._mac(caller.role, f"csrf {caller.name}")

    def _mac(self, role: Role, text: str) -> str:
        return hmac.new(self._tokens[role].encode(), text.encode(), hashlib.sha256).hexdigest()

    def knows_host(self, header: str) -> bool:
        """Return whether a request was meant for us, and not for a name that somebody pointed at this address."""
        try:
            return (urlsplit(f"//{header}").hostname or "").lower() in self._hosts
        except ValueError:
            return False

    def caller(self, headers: dict[str, str], peer: Caller | None) -> Caller | None:
        """Return who asks; None for somebody unknown. A token goes before a cookie, a cookie before a certificate."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            return self.by_token(token.strip()) if scheme.lower() == "bearer" else None
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            cookie = None
        return (self.by_session(cookie.value) if cookie is not None else None) or peer

    def check_change(self, headers: dict[str, str], caller: Caller, scheme: str) -> None:
        """Refuse what another site made a browser ask, and callers that may only look.

        Raises:
            AccessDeniedError: see above.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and origin.lower() != f"{scheme}://{headers.get('host', '').lower()}":
            raise AccessDeniedError("another site asked for this.", next_step="Use edgeloop's own pages.")
        if site not in ("none", "same-origin"):
            raise AccessDeniedError("another site asked for this.", next_step="Use edgeloop's own pages.")
        if caller.role is not Role.OPERATOR:
            raise AccessDeniedError(
                "an observer may look and change nothing.", next_step="Use the operator's token."
            )
        if caller.ambient and not hmac.compare_digest(
            headers.get(CSRF_HEADER, "").encode(), self.csrf(caller).encode()
        ):
            raise AccessDeniedError(
                f"the header {CSRF_HEADER} is missing or wrong.", next_step="Reload the page and try again."
            )

    def give(self, response: Response, role: Role) -> None:
        """Put the cookie of a role into a response."""
        response.set_cookie(
            _COOKIE, self.session(role), max_age=_SESSION_S, httponly=True, samesite="strict",
            secure=self.secure, path="/",
        )  # fmt: skip

    def take(self, response: Response) -> None:
        """Have the browser forget its cookie."""
        response.delete_cookie(_COOKIE, path="/", httponly=True, samesite="strict", secure=self.secure)


class Gate:
    """ASGI middleware that lets through what ``Access`` allows, and puts security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = str(scope["path"])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_headers(path, secure=self._access.secure)]
            await send(message)

        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            answer = self._check(scope, path, headers)
        except EdgeloopError as error:
            answer = error_response(error)
        await (answer or self._app)(scope, receive, sending)

    def _check(self, scope: Scope, path: str, headers: dict[str, str]) -> Response | None:
        """Return what to answer instead; None lets the request through, with its caller in the scope."""
        if not self._access.knows_host(headers.get("host", "")):
            raise InvalidInputError(
                "this is not the host that was asked for.",
                next_step="Name it at the start: edgeloop serve --host NAME.",
            )
        if not headers.get("content-length", "0").isdecimal() or "transfer-encoding" in headers:
            raise InvalidInputError("a request states its length.")
        most = _body_bytes_max(scope["method"], path)
        if int(headers.get("content-length", "0")) > most:
            raise InvalidInputError(f"this request has at most {most} bytes.")
        caller = self._access.caller(headers, scope.get(PEER))
        scope.setdefault("state", {})["caller"] = caller
        if path in _OPEN_TO_ALL or path.startswith("/static/"):
            return None
        if caller is None:
            return _who(scope, path, headers)
        if scope["method"] not in _LOOKING:
            self._access.check_change(headers, caller, scope["scheme"])
        return None


def _body_bytes_max(method: str, path: str) -> int:
    found = (most for verb, begin, most in _LARGE_BODIES if method == verb and path.startswith(begin))
    return next(found, _BODY_BYTES_MAX)


def _who(scope: Scope, path: str, headers: dict[str, str]) -> Response:
    """Send a person to the page that asks for a token; refuse a program.

    Raises:
        UnauthenticatedError: a program asked.
    """
    if scope["method"] == "GET" and "text/html" in headers.get("accept", "") and not path.startswith("/api/"):
        return RedirectResponse(f"/login?next={quote(path)}", status_code=303)
    raise UnauthenticatedError(
        "this needs a token.",
        next_step="Send Authorization: Bearer TOKEN; the tokens are in the files of serve/ in the controller's home.",
    )


def _headers(path: str, *, secure: bool) -> list[tuple[bytes, bytes]]:
    policy = _REPORT_POLICY if path.startswith("/experiments/") else _PAGE_POLICY
    found: dict[str, Any] = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }
    if not path.startswith("/static/"):
        found["cache-control"] = "no-store"
    if secure:
        found["strict-transport-security"] = "max-age=31536000"
    return [(name.encode(), value.encode()) for name, value in found.items()]

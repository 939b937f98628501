"""Join tokens: one use, one device name, fifteen minutes; only their hash is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, UnauthenticatedError
from edgeloop_foundation.ports.fs import OsFileSystem, write_durably
from edgeloop_protocol.convert.json import from_json, to_canonical_json
from edgeloop_protocol.types.identity import Identity

__all__ = ["TOKEN_LIFE_S", "JoinTokens"]

TOKEN_LIFE_S = 900.0

_ATTEMPTS_MAX = 5
_SECRET_BYTES = 16
_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """What is kept of one token."""

    #: Its public part.
    token_id: str
    #: SHA-256 of its secret.
    secret: str
    #: The only identity that it is good for.
    uri: str
    #: When it ends, in seconds since 1970.
    expires_s: float
    #: Wrong secrets that were tried.
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    tokens: tuple[_Token, ...] = ()


class JoinTokens:
    """The tokens of one authority; one process at a time gives them out and takes them."""

    def __init__(self, path: Path, wall_s: Callable[[], float]) -> None:
        self._path = path
        self._wall_s = wall_s

    def create(self, identity: Identity, authority: str) -> str:
        """Return a new token for a device; an older one for the same device is void.

        Args:
            identity: the device.
            authority: SHA-256 of the public key of the authority, which the device checks first.
        """
        token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        new = _Token(
            token_id=token_id,
            secret=_hash(secret),
            uri=identity.uri,
            expires_s=self._wall_s() + TOKEN_LIFE_S,
        )
        self._write([*(token for token in self._live() if token.uri != identity.uri), new])
        return f"ej1.{identity.fleet}.{identity.name}.{authority}.{token_id}.{secret}"

    def check(self, token_id: str, secret: str) -> Identity:
        """Return the identity that a token is good for; a wrong secret counts against it.

        Raises:
            UnauthenticatedError: there is no such token, it ran out or was used, or the secret is wrong.
        """
        found = next((token for token in self._live() if token.token_id == token_id), None)
        if found is None or not hmac.compare_digest(found.secret, _hash(secret)):
            if found is not None:
                self._fail(found)
            raise UnauthenticatedError(
                "this join token is not known: it is wrong, was used, or is older than 15 minutes.",
                next_step="Make another one: edgeloop device enrol NAME --listen HOST:PORT.",
            )
        return Identity.parse(found.uri)

    def use(self, token_id: str) -> None:
        """Make a token void, durably."""
        self._write([token for token in self._live() if token.token_id != token_id])

    def _fail(self, token: _Token) -> None:
        failed = dataclasses.replace(token, failures=token.failures + 1)
        others = [other for other in self._live() if other.token_id != token.token_id]
        self._write(others if failed.failures >= _ATTEMPTS_MAX else [*others, failed])

    def _live(self) -> list[_Token]:
        try:
            known = from_json(self._path.read_bytes(), _Tokens).tokens
        except FileNotFoundError:
            return []
        except InvalidInputError as error:
            raise CorruptDataError(
                f"{self._path} is damaged: {error}", next_step="Remove it; open tokens become void."
            ) from error
        return [token for token in known if token.expires_s > self._wall_s()]

    def _write(self, tokens: list[_Token]) -> None:
        write_durably(OsFileSystem(), self._path, to_canonical_json(_Tokens(tokens=tuple(tokens))))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

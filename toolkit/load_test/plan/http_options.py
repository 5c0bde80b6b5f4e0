"""The timeouts, further headers and certificates of a load test's calls."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from toolkit.api.errors import InputError

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How calls are made.

    Args:
        timeout_s: limit for a whole call, however slowly its response drips in.
        connect_timeout_s: limit for opening a connection.
        headers: names and values of further headers. The values may be secret.
        ca_bundle: file with the certificates that are trusted, in place of the system's.
        client_cert: file with the client's certificate, and its key unless ``client_key`` is given.
        client_key: file with the key of the client's certificate.
    """

    timeout_s: float = CALL_TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_bundle: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


DEFAULT_HTTP = HttpOptions()


@cache
def tls_context(http: HttpOptions = DEFAULT_HTTP) -> ssl.SSLContext:
    """Return one context for all connections: loading the certificates takes milliseconds and megabytes.

    Raises:
        InputError: A file can't be read, or holds no certificate or no matching key. The message names the option.
    """
    try:
        context = ssl.create_default_context(cafile=http.ca_bundle)
    except (OSError, ValueError) as problem:
        raise InputError(f"invalid --ca-bundle {str(http.ca_bundle)!r}: {_reason(problem)}") from None
    if http.client_cert:
        try:
            context.load_cert_chain(http.client_cert, http.client_key, password=_refuse_password)
        except (OSError, ValueError) as problem:
            raise InputError(
                f"invalid --client-cert {str(http.client_cert)!r}: {_reason(problem)}; expected a PEM file with the"
                " certificate, and its key there or in --client-key, without a password"
            ) from None
    return context


def _refuse_password() -> str:
    """Refuse a key that has a password: OpenSSL would prompt for it on the terminal, in each worker."""
    raise ValueError("its key has a password")


def _reason(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLError):
        return "it holds no usable certificate or key"
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)

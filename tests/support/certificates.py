"""A certificate of localhost that nobody vouches for but who is told to."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from support.programs import require


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate with openssl; return its file and the server's TLS context."""
    require("openssl")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context

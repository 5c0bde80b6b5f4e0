"""A certificate of localhost that nobody vouches for but who is told to."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make one, and return its file and what a server speaks TLS with; skip where openssl is missing, but in CI."""
    if shutil.which("openssl") is None:
        assert not os.environ.get("CI"), "CI needs openssl"
        pytest.skip("needs openssl to make a certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.certificates import certificate

from toolkit.api.errors import InputError
from toolkit.load_test.plan.http_options import HttpOptions, tls_context


def test_an_own_bundle_replaces_the_systems(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    context = tls_context(HttpOptions(ca_bundle=cert))
    assert [dict(it[0] for it in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == ["localhost"]


@pytest.mark.parametrize(("name", "flag"), [("ca_bundle", "--ca-bundle"), ("client_cert", "--client-cert")])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, name: str, flag: str, content: str | None) -> None:
    file = tmp_path / "file.pem"
    if content:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        tls_context(HttpOptions(**{name: file}))
    assert str(refusal.value).startswith(f"invalid {flag} '{file}': ")
    assert ("No such file" in str(refusal.value)) == (content is None)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", tmp_path / "key.pem", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InputError, match="without a password"):
        tls_context(HttpOptions(client_cert=cert, client_key=locked))

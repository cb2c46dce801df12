"""The lab's CA and secrets: made once, kept while they are good, never readable by others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.services import secrets, tls


def _verify(certificate: Path, ca: Path, *options: str) -> bool:
    command = ["openssl", "verify", "-CAfile", str(ca), *options, str(certificate)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_certificate_is_good_for_its_names_and_for_no_other(tmp_path: Path) -> None:
    certificate, key = tls.issue(tmp_path, "services", ["gitea.lab", "10.212.0.5"])
    ca = tls.ensure_ca(tmp_path)
    assert _verify(certificate, ca, "-verify_hostname", "gitea.lab", "-purpose", "sslserver")
    assert _verify(certificate, ca, "-verify_ip", "10.212.0.5")
    assert not _verify(certificate, ca, "-verify_hostname", "other.lab")
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "pki/ca.key").stat().st_mode & 0o777 == 0o600


def test_a_good_certificate_is_kept_and_another_name_makes_a_new_one(tmp_path: Path) -> None:
    certificate, _ = tls.issue(tmp_path, "a", ["a.lab", "b.lab"])
    first = certificate.read_text()
    tls.issue(tmp_path, "a", ["b.lab"])
    assert certificate.read_text() == first
    tls.issue(tmp_path, "a", ["c.lab"])
    assert certificate.read_text() != first


def test_a_certificate_of_an_earlier_ca_is_replaced(tmp_path: Path) -> None:
    certificate, _ = tls.issue(tmp_path, "a", ["a.lab"])
    (tmp_path / "pki/ca.crt").unlink()
    tls.issue(tmp_path, "a", ["a.lab"])
    assert _verify(certificate, tmp_path / "pki/ca.crt")


def test_secrets_are_private_differ_and_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "services"
    secrets.ensure(directory)
    first = {name: secrets.read(directory / name) for name in secrets.NAMES}
    secrets.ensure(directory)
    assert {name: secrets.read(directory / name) for name in secrets.NAMES} == first
    assert len(set(first.values())) == len(secrets.NAMES)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())


def test_an_empty_secret_is_made_anew(tmp_path: Path) -> None:
    secrets.ensure(tmp_path)
    (tmp_path / "jira_token").write_text("\n")
    with pytest.raises(ValueError, match="no secret"):
        secrets.read(tmp_path / "jira_token")
    secrets.ensure(tmp_path)
    assert secrets.read(tmp_path / "jira_token")

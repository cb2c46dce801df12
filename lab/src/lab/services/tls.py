"""The lab's certificate authority, by the openssl command: no Python package is needed.

The lab only: keys live beside the certificates in the lab's state directory and last 30 days.
"""

from __future__ import annotations

import ipaddress
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

DAYS = 30
RENEW_BEFORE_SECONDS = 2 * 24 * 3600


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def _is_current(certificate: Path) -> bool:
    if not certificate.exists():
        return False
    checked = subprocess.run(
        ["openssl", "x509", "-noout", "-checkend", str(RENEW_BEFORE_SECONDS), "-in", str(certificate)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return checked.returncode == 0


def _make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))
    path.chmod(0o600)


def ensure_ca(state: Path) -> Path:
    """Make `state/pki/ca.crt` and `ca.key` unless a certificate is there that lasts; return ca.crt."""
    directory = state / "pki"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if _is_current(certificate) and key.exists():
        return certificate
    _make_key(key)
    _openssl(
        "req", "-x509", "-new", "-sha256", "-key", str(key), "-days", str(DAYS),
        "-subj", "/O=SDLC agents lab/CN=Lab CA",
        "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-out", str(certificate),
    )  # fmt: skip
    return certificate


def _subject_alternative(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"


def _fits(certificate: Path, ca: Path, names: Sequence[str], purposes: Sequence[str]) -> bool:
    if not _is_current(certificate):
        return False
    signed = [
        subprocess.run(
            ["openssl", "verify", "-CAfile", str(ca), "-purpose", purpose, str(certificate)],
            capture_output=True,
            check=False,
            timeout=60,
        )
        for purpose in purposes
    ]
    listed = _openssl("x509", "-noout", "-ext", "subjectAltName", "-in", str(certificate))
    present = {entry.strip().replace("IP Address:", "IP:") for entry in listed.replace("\n", ",").split(",")}
    return all(run.returncode == 0 for run in signed) and {_subject_alternative(name) for name in names} <= present


def issue(state: Path, name: str, names: Sequence[str], *, client: bool = False) -> tuple[Path, Path]:
    """A server certificate for DNS names and addresses, and its key: `state/pki/<name>.{crt,key}`.

    With `client` it logs in to others as well, as the members of a replica set do (one that is alone, to itself). The
    one on disk is kept while the CA signed it, it holds all names and uses and lasts two more days.
    """
    if not names:
        raise ValueError("a certificate needs at least one name")
    ca = ensure_ca(state)
    certificate, key = ca.with_name(f"{name}.crt"), ca.with_name(f"{name}.key")
    purposes = ["sslserver", "sslclient"] if client else ["sslserver"]
    if key.exists() and _fits(certificate, ca, names, purposes):
        return certificate, key
    _make_key(key)
    with tempfile.TemporaryDirectory() as scratch:
        request, extensions = Path(scratch, "request.csr"), Path(scratch, "extensions.cnf")
        _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={names[0]}", "-out", str(request))
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage=serverAuth{',clientAuth' if client else ''}\n"
            f"subjectAltName={','.join(_subject_alternative(entry) for entry in names)}\n",
            encoding="utf-8",
        )
        _openssl(
            "x509", "-req", "-sha256", "-days", str(DAYS), "-in", str(request),
            "-CA", str(ca), "-CAkey", str(ca.with_name("ca.key")), "-CAcreateserial",
            "-extfile", str(extensions), "-out", str(certificate),
        )  # fmt: skip
    return certificate, key

#!/usr/bin/python
"""Module ``pki_certificates``: all keys and certificates of a host in one pass."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    HAVE_CRYPTOGRAPHY = True
except ImportError:
    HAVE_CRYPTOGRAPHY = False

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

DOCUMENTATION = r"""
module: pki_certificates
short_description: Keep a host's private keys and certificates
description:
  - Makes the private keys that are missing, finds the certificates that are missing, do not
    fit any more or are about to expire, and returns a signing request for each of them.
  - Called again with the signed certificates, it checks each against its key and the
    authority and puts it in place. Private keys never leave the host.
options:
  directory:
    description: Holds C(ca.crt) and, for each certificate, a directory with C(tls.crt), C(tls.key), C(tls.pem).
    type: path
    required: true
  ca_certificate:
    description: The authority's certificate (PEM).
    type: str
    required: true
  certificates:
    description: The certificates this host is to have; others in the directory are removed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of its directory.
        type: str
        required: true
      dns_names:
        description: Names that it is valid for.
        type: list
        elements: str
        default: []
      ip_addresses:
        description: Addresses that it is valid for.
        type: list
        elements: str
        default: []
      usages:
        description: Whether its holder is a server, a client or both.
        type: list
        elements: str
        choices: [server, client]
        default: [server]
  renew_before_days:
    description: A certificate with less time left is made anew.
    type: int
    required: true
  signed:
    description: Signed certificates (PEM) by name.
    type: dict
    default: {}
author: SDLC AI Agents
attributes:
  check_mode:
    support: full
"""

RETURN = r"""
requests:
  description: Which certificates need the authority's signature, and why.
  type: list
  elements: dict
  returned: always
expires:
  description: The time each certificate runs out, in seconds since 1970, by name.
  type: dict
  returned: always
"""


class UnfitError(Exception):
    """A signed certificate that was handed in does not fit."""


def not_after(certificate: x509.Certificate) -> datetime.datetime:
    """When it runs out; cryptography 38 (Debian 12) tells it without a zone."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=datetime.UTC)


def spki(key: PublicKeyTypes) -> bytes:
    """A public key in the one form in which two can be compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority's key signed the certificate (RFC 5280, section 6.1.3)."""
    if certificate.issuer != authority.subject:
        return False
    key: Any = authority.public_key()
    arguments: list[Any] = [certificate.signature, certificate.tbs_certificate_bytes]
    if isinstance(key, rsa.RSAPublicKey):
        arguments += [padding.PKCS1v15(), certificate.signature_hash_algorithm]
    elif isinstance(key, ec.EllipticCurvePublicKey):
        arguments.append(ec.ECDSA(certificate.signature_hash_algorithm or hashes.SHA256()))
    try:
        key.verify(*arguments)
    except InvalidSignature:
        return False
    return True


def usages_of(wanted: dict[str, Any]) -> list[x509.ObjectIdentifier]:
    """The extended key usages of a certificate."""
    known = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    return [known[usage] for usage in sorted(set(wanted["usages"]))]


def names_of(wanted: dict[str, Any]) -> list[x509.GeneralName]:
    """The names and addresses that a certificate is valid for."""
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in sorted(set(wanted["dns_names"]))]
    addresses = sorted({ipaddress.ip_address(address) for address in wanted["ip_addresses"]}, key=str)
    return [*names, *map(x509.IPAddress, addresses)]


def why_unfit(
    certificate: x509.Certificate | None,
    key: ec.EllipticCurvePrivateKey,
    wanted: dict[str, Any],
    authority: x509.Certificate,
    days_left: int,
) -> str | None:
    """Why a certificate will not do, or None when it will."""
    if certificate is None:
        return "it was never signed"
    if spki(certificate.public_key()) != spki(key.public_key()):
        return "it belongs to another key"
    if not signed_by(certificate, authority):
        return "another authority signed it"
    if not_after(certificate) - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=days_left):
        return f"it runs out on {not_after(certificate):%Y-%m-%d}"
    try:
        names = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        names, usages = set(), set()
    right = names == set(names_of(wanted)) and usages == set(usages_of(wanted))
    return None if right else "its names or usages are not those wanted"


def load_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """The private key at *path*, or None when there is none, it cannot be read or is of another kind."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def load_certificate(path: Path) -> x509.Certificate | None:
    """The certificate at *path*, or None when there is none or it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as its file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_for(key: ec.EllipticCurvePrivateKey, wanted: dict[str, Any]) -> str:
    """A certificate signing request (PKCS #10) that asks for all that the certificate is to say."""
    # The first name tells whose it is; RFC 5280 allows 64 characters.
    holder = [*wanted["dns_names"], *wanted["ip_addresses"], wanted["name"]][0][:64]
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, wanted["name"]),
        x509.NameAttribute(NameOID.COMMON_NAME, holder),
    ]
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName(names_of(wanted)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **others), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages_of(wanted)), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


class Store:
    """The directory of certificates. Writes are whole or not at all, and none in check mode."""

    def __init__(self, root: Path, *, dry: bool) -> None:
        self.root = root
        self.dry = dry
        self.changed = False

    def make(self, directory: Path) -> None:
        """Have a directory that everyone may enter."""
        if directory.is_dir() and stat.S_IMODE(directory.stat().st_mode) == 0o755:
            return
        self.changed = True
        if not self.dry:
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Have a file of root with this content and these permissions."""
        if path.is_file() and path.read_bytes() == content:
            status = path.stat()
            if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, 0, 0):
                return
        self.changed = True
        if self.dry:
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            os.fchown(handle, 0, 0)
            os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)

    def keep_only(self, names: set[str]) -> None:
        """Remove what is no longer wanted, and what an interrupted run left."""
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            stale = entry.is_dir() and entry.name not in names and (entry / "tls.key").exists()
            leftovers = [entry] if stale else list(entry.glob(".new-*"))
            self.changed = self.changed or bool(leftovers)
            for leftover in [] if self.dry else leftovers:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def keep(
    store: Store, wanted: dict[str, Any], authority: x509.Certificate, signed: str | None, days_left: int
) -> tuple[dict[str, str] | None, int]:
    """Bring one certificate up to date.

    Returns: its signing request, if it needs one, else when it runs out in seconds since 1970.
    """
    directory = store.root / wanted["name"]
    store.make(directory)
    key = load_key(directory / "tls.key") or ec.generate_private_key(ec.SECP256R1())
    store.write(directory / "tls.key", pem_of(key), 0o600)

    if signed:
        certificate: x509.Certificate | None = x509.load_pem_x509_certificate(signed.encode())
        unfit = why_unfit(certificate, key, wanted, authority, 0)
        if unfit:
            raise UnfitError(f"the signed certificate {wanted['name']} will not do: {unfit}")
    else:
        certificate = load_certificate(directory / "tls.crt")
        unfit = why_unfit(certificate, key, wanted, authority, days_left)
    if unfit or certificate is None:
        store.changed = True
        return {"name": wanted["name"], "reason": unfit or "", "csr": request_for(key, wanted)}, 0

    pem = certificate.public_bytes(serialization.Encoding.PEM)
    store.write(directory / "tls.crt", pem, 0o644)
    store.write(directory / "tls.pem", pem_of(key) + pem, 0o600)
    return None, int(not_after(certificate).timestamp())


def main() -> None:
    """Run the module."""
    names = {"type": "list", "elements": "str", "default": []}
    usages = {"type": "list", "elements": "str", "choices": ["server", "client"], "default": ["server"]}
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "ca_certificate": {"type": "str", "required": True},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "dns_names": names,
                    "ip_addresses": names,
                    "usages": usages,
                },
            },
            "renew_before_days": {"type": "int", "required": True},
            "signed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if not HAVE_CRYPTOGRAPHY:
        if module.check_mode:
            # A bare host: the package would come with the same run.
            module.exit_json(changed=True, requests=[], expires={})
        module.fail_json(msg=missing_required_lib("cryptography (Debian: python3-cryptography)"))

    params = module.params
    store = Store(Path(params["directory"]), dry=module.check_mode)
    requests: list[dict[str, str]] = []
    expires: dict[str, int] = {}
    try:
        authority = x509.load_pem_x509_certificate(params["ca_certificate"].encode())
        store.make(store.root)
        store.write(store.root / "ca.crt", params["ca_certificate"].strip().encode() + b"\n", 0o644)
        for wanted in params["certificates"]:
            name = wanted["name"]
            request, expiry = keep(store, wanted, authority, params["signed"].get(name), params["renew_before_days"])
            if request:
                requests.append(request)
            else:
                expires[name] = expiry
        store.keep_only({wanted["name"] for wanted in params["certificates"]})
    except (UnfitError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=store.changed, requests=requests, expires=expires)


if __name__ == "__main__":
    main()

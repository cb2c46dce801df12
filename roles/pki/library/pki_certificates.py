#!/usr/bin/python
"""All certificates of a host in one pass: keys, signing requests, signed certificates."""

from __future__ import annotations

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

import datetime
import ipaddress
import os
import shutil
import tempfile

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

EPOCH = datetime.datetime(1970, 1, 1)


class Refused(Exception):
    """What was handed in does not fit."""


def not_after(certificate):
    """When it runs out, in UTC without a zone: cryptography 38 (Debian 12) knows no other."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc.replace(tzinfo=None)
    return certificate.not_valid_after


def public_bytes(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed_by(certificate, authority):
    """Whether the authority's key signed the certificate (RFC 5280, section 6.1.3)."""
    if certificate.issuer != authority.subject:
        return False
    key = authority.public_key()
    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    algorithm = certificate.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(algorithm))
        else:
            key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def usages_of(wanted):
    known = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    return [known[usage] for usage in sorted(set(wanted["usages"]))]


def names_of(wanted):
    names = [x509.DNSName(name) for name in sorted(set(wanted["dns_names"]))]
    addresses = sorted({ipaddress.ip_address(address) for address in wanted["ip_addresses"]}, key=str)
    return names + [x509.IPAddress(address) for address in addresses]


def subject_of(wanted):
    # The first name tells whose it is; 64 characters are what RFC 5280 allows.
    holder = (wanted["dns_names"] or wanted["ip_addresses"] or [wanted["name"]])[0]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, wanted["name"]),
            x509.NameAttribute(NameOID.COMMON_NAME, holder[:64]),
        ]
    )


def why_unfit(certificate, key, wanted, authority, renew_before):
    """Why a certificate will not do, or None when it will."""
    if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
        return "it belongs to another key"
    if not signed_by(certificate, authority):
        return "another authority signed it"
    if not_after(certificate) - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) < renew_before:
        return "it runs out on " + not_after(certificate).strftime("%Y-%m-%d")
    extensions = certificate.extensions
    try:
        names = set(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return "it names no holder or no usage"
    if names != set(names_of(wanted)):
        return "its names are not those wanted"
    if usages != set(usages_of(wanted)):
        return "its usages are not those wanted"
    return None


def load_key(path):
    """The private key at *path*, or None when there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return serialization.load_pem_private_key(file.read(), None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        # A file that was cut short is as good as none.
        return None


def load_certificate(path):
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificate(file.read())
    except (FileNotFoundError, ValueError):
        return None


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_for(key, wanted):
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_of(wanted))
        .add_extension(x509.SubjectAlternativeName(names_of(wanted)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages_of(wanted)), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


class Directory:
    """The directory of certificates; writes are whole or not at all, and none in check mode."""

    def __init__(self, module):
        self.root = module.params["directory"]
        self.dry = module.check_mode
        self.changed = False

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def make(self, path):
        """A directory that everyone may enter, and its missing parents."""
        if not os.path.isdir(path):
            self.changed = True
            if not self.dry:
                os.makedirs(path, 0o755)
        elif os.stat(path).st_mode & 0o7777 != 0o755:
            self.changed = True
            if not self.dry:
                os.chmod(path, 0o755)

    def write(self, path, content, mode):
        try:
            with open(path, "rb") as file:
                same = file.read() == content
            status = os.stat(path)
            if same and (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (mode, 0, 0):
                return
        except FileNotFoundError:
            pass
        self.changed = True
        if self.dry:
            return
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchown(handle, 0, 0)
                os.fchmod(handle, mode)
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def keep_only(self, names):
        if not os.path.isdir(self.root):
            return
        for entry in os.listdir(self.root):
            if entry not in names and os.path.exists(self.path(entry, "tls.key")):
                self.changed = True
                if not self.dry:
                    shutil.rmtree(self.path(entry))


def keep(directory, wanted, authority, params):
    """Bring one certificate up to date; return its signing request, if it needs one, and its expiry."""
    name = wanted["name"]
    directory.make(directory.path(name))
    key = load_key(directory.path(name, "tls.key"))
    reason = None
    if key is None:
        reason = "it has no key"
        key = ec.generate_private_key(ec.SECP256R1())
    directory.write(directory.path(name, "tls.key"), pem_of(key), 0o600)

    renew_before = datetime.timedelta(days=params["renew_before_days"])
    certificate = load_certificate(directory.path(name, "tls.crt"))
    if name in params["signed"]:
        certificate = x509.load_pem_x509_certificate(params["signed"][name].encode())
        unfit = why_unfit(certificate, key, wanted, authority, datetime.timedelta(0))
        if unfit:
            raise Refused("the signed certificate %s will not do: %s" % (name, unfit))
        reason = None
    elif reason is None:
        if certificate is None:
            reason = "it was never signed"
        else:
            reason = why_unfit(certificate, key, wanted, authority, renew_before)

    if reason:
        directory.changed = True
        request = {"name": name, "reason": reason, "csr": request_for(key, wanted)}
        return request, None
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    directory.write(directory.path(name, "tls.crt"), pem, 0o644)
    directory.write(directory.path(name, "tls.pem"), pem_of(key) + pem, 0o600)
    return None, int((not_after(certificate) - EPOCH).total_seconds())


def main():
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
                    "dns_names": {"type": "list", "elements": "str", "default": []},
                    "ip_addresses": {"type": "list", "elements": "str", "default": []},
                    "usages": {
                        "type": "list",
                        "elements": "str",
                        "choices": ["server", "client"],
                        "default": ["server"],
                    },
                },
            },
            "renew_before_days": {"type": "int", "required": True},
            "signed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if not HAVE_CRYPTOGRAPHY:
        if module.check_mode:
            # A bare host: the package comes with the same run.
            module.exit_json(changed=True, requests=[], expires={})
        module.fail_json(msg=missing_required_lib("cryptography (Debian: python3-cryptography)"))

    params = module.params
    try:
        authority = x509.load_pem_x509_certificate(params["ca_certificate"].encode())
    except ValueError:
        module.fail_json(msg="ca_certificate is not a certificate in PEM")

    directory = Directory(module)
    requests, expires = [], {}
    try:
        directory.make(directory.root)
        directory.write(
            directory.path("ca.crt"), params["ca_certificate"].strip().encode() + b"\n", 0o644
        )
        for wanted in params["certificates"]:
            request, expiry = keep(directory, wanted, authority, params)
            if request:
                requests.append(request)
            else:
                expires[wanted["name"]] = expiry
        directory.keep_only([wanted["name"] for wanted in params["certificates"]])
    except (Refused, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=directory.changed, requests=requests, expires=expires)


if __name__ == "__main__":
    main()

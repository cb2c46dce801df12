"""Certificates: valid for what they say, kept to themselves, and renewed in time."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from testinfra.host import Host
from wiring import text

from lab import hosts, journey

STORE, METRICS = text("pki_directory"), text("exporters_textfile_directory")
SERVERS = ["configuration-api", "exporters", "jira-webhook-api", "mongodb", "nginx", "rabbitmq"]
CLIENTS = ["filebeat", "mongodb", "prometheus", "rabbitmq"]
EVERYWHERE = {"exporters", "filebeat"}


@dataclass(frozen=True)
class Holder:
    """A host that has certificates, under its name and address."""

    machine: Host
    name: str
    address: str
    certificates: frozenset[str]


@pytest.fixture(scope="module")
def holders(host: Host, broker: Host, lab: Any) -> list[Holder]:
    """The appliance, and the broker's host if that is another."""
    every = frozenset([*SERVERS, *CLIENTS])
    if lab.broker == lab.name:
        return [Holder(host, lab.name, lab.address, every)]
    return [
        Holder(host, lab.name, lab.address, every - {"rabbitmq"}),
        Holder(broker, lab.broker, lab.broker_address, frozenset({"rabbitmq", *EVERYWHERE})),
    ]


def test_there_is_a_certificate_for_each_service_and_no_other(holders: list[Holder]) -> None:
    for holder in holders:
        assert set(holder.machine.check_output(f"ls {STORE}").split()) == {"ca.crt", *holder.certificates}


@pytest.mark.parametrize("name", SERVERS)
def test_a_servers_certificate_holds_for_its_names_and_addresses(holders: list[Holder], name: str) -> None:
    verify = f"openssl verify -x509_strict -purpose sslserver -CAfile {STORE}/ca.crt"
    for holder in (holder for holder in holders if name in holder.certificates):
        for check in ("-verify_hostname localhost", f"-verify_hostname {holder.name}", f"-verify_ip {holder.address}"):
            assert holder.machine.run(f"{verify} {check} {STORE}/{name}/tls.crt").rc == 0
        assert holder.machine.run(f"{verify} -verify_hostname other.example {STORE}/{name}/tls.crt").rc != 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_clients_certificate_is_one_of_a_client(holders: list[Holder], name: str) -> None:
    verify = f"openssl verify -x509_strict -CAfile {STORE}/ca.crt"
    for machine in (holder.machine for holder in holders if name in holder.certificates):
        assert machine.run(f"{verify} -purpose sslclient {STORE}/{name}/tls.crt").rc == 0
        assert (machine.run(f"{verify} -purpose sslserver {STORE}/{name}/tls.crt").rc == 0) is (name in SERVERS)


def test_only_root_reads_a_key(holders: list[Holder]) -> None:
    as_nobody = "setpriv --reuid=nobody --clear-groups cat"
    for machine, name in ((holder.machine, name) for holder in holders for name in holder.certificates):
        for file in ("tls.key", "tls.pem"):
            assert machine.run(f"{as_nobody} {STORE}/{name}/{file}").rc != 0
        assert machine.run(f"{as_nobody} {STORE}/{name}/tls.crt").rc == 0


def test_each_key_belongs_to_one_certificate(holders: list[Holder]) -> None:
    files = [(holder.machine, f"{STORE}/{name}/tls.pem") for holder in holders for name in holder.certificates]
    keys = [machine.check_output(f"openssl pkey -in {file} -pubout") for machine, file in files]
    assert len(set(keys)) == len(keys)
    assert [machine.check_output(f"openssl x509 -in {file} -noout -pubkey") for machine, file in files] == keys


def test_the_authoritys_key_is_nowhere_on_the_host(lab: Any, secrets: Mapping[str, str]) -> None:
    # A line from the middle: long enough to be found in nothing else. It goes in by standard input.
    needle = secrets["secret_pki_ca_private_key"].strip().splitlines()[1]
    folders = [
        "/etc",
        "/home",
        "/opt",
        "/root",
        "/run",
        "/srv",
        "/tmp",  # noqa: S108
        "/usr/local",
        "/var/lib/sdlc-agents",
        "/var/log",
    ]
    command = ["grep", "--recursive", "--devices=skip", "--files-with-matches", "--fixed-strings", "--file=-"]
    command += ["--no-messages", *folders]
    told = subprocess.run(
        [*hosts.ssh_command(lab.address), *command], input=needle, capture_output=True, text=True, check=False
    )
    assert told.stdout == ""


def test_prometheus_is_told_when_each_certificate_runs_out(holders: list[Holder]) -> None:
    for holder in holders:
        machine = holder.machine
        told = dict(
            line.rsplit(" ", 1)
            for line in machine.file(f"{METRICS}/pki.prom").content_string.splitlines()
            if not line.startswith("#")
        )
        for name in holder.certificates:
            shown = machine.check_output(f"openssl x509 -in {STORE}/{name}/tls.crt -noout -enddate")
            seconds = machine.check_output(f"date --date='{shown.removeprefix('notAfter=')}' +%s")
            assert told[f'sdlc_certificate_not_after_seconds{{name="{name}"}}'] == seconds


@pytest.fixture
def authority() -> tuple[str, str]:
    """A throw-away authority: certificate and key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "throw-away authority of a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()


@pytest.mark.alone
def test_a_certificate_that_runs_out_soon_is_renewed_with_its_key(
    host: Host, lab: Any, authority: tuple[str, str], tmp_path: Path
) -> None:
    where = "/run/sdlc-pki-test"
    play = tmp_path / "pki.yml"
    values = {
        "pki_ca_certificate": authority[0],
        "pki_ca_private_key": authority[1],
        "pki_directory": where,
        "pki_metrics_directory": f"{where}-metrics",
        "pki_certificates": [{"name": "probe", "dns_names": ["probe.example"], "usages": ["server"]}],
    }
    play.write_text(
        yaml.safe_dump([{"hosts": lab.name, "gather_facts": False, "roles": [{"role": "pki"}], "vars": values}])
    )
    play.chmod(0o600)

    def run(valid: int, renew_before: int) -> tuple[str, str, bool]:
        """Run the role; return key, certificate and whether anything changed."""
        variables = json.dumps({"pki_valid_days": valid, "pki_renew_before_days": renew_before})
        told = journey.playbook("-i", str(lab.inventory), str(play), "-e", variables)
        assert told.returncode == 0, told.stdout
        key = host.check_output(f"openssl pkey -in {where}/probe/tls.key -pubout")
        certificate = host.check_output(f"openssl x509 -in {where}/probe/tls.crt -noout -serial -enddate")
        return key, certificate, "changed=0" not in told.stdout

    try:
        key, first, _ = run(valid=90, renew_before=60)
        assert run(valid=90, renew_before=60) == (key, first, False)
        same_key, second, changed = run(valid=400, renew_before=120)
        assert (same_key, changed) == (key, True)
        assert second != first
    finally:
        host.check_output(f"rm -rf {where} {where}-metrics")

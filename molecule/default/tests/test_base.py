"""The base system: who logs in, whom it trusts, what it logs and how it stays up to date."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

from testinfra.host import Host
from wiring import port

Eventually = Callable[..., Any]


def test_sshd_takes_no_password(lab: Any) -> None:
    command = ["ssh", "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive"]
    # A machine that has never seen the host: only what the host offers counts here.
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    told = subprocess.run([*command, f"root@{lab.address}", "true"], capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "Permission denied (publickey)" in told.stderr


def test_the_host_knows_itself_by_its_network_address(host: Host, lab: Any) -> None:
    assert host.check_output(f"getent ahostsv4 {lab.name}").split()[0] == lab.address


def test_extra_authorities_are_trusted_by_every_program(host: Host) -> None:
    assert host.run("curl --silent --show-error --output /dev/null https://gitea.lab/").rc == 0
    fetch = "import urllib.request; print(urllib.request.urlopen('https://gitea.lab/').status)"
    assert host.check_output("python3 -c %s", fetch) == "200"


def test_an_authority_nobody_listed_is_not_trusted(host: Host, lab: Any) -> None:
    # Prometheus and the exporters use the appliance's own authority, which nobody else knows.
    told = host.run(f"curl --silent --show-error --output /dev/null https://{lab.name}:{port('exporters_port')}/")
    assert told.rc == 60, told.stderr


def test_security_updates_and_no_others_install_themselves(host: Host) -> None:
    told = host.run("unattended-upgrade --dry-run --verbose 2>&1")
    assert told.rc == 0, told.stdout
    origins = re.search(r"Allowed origins are: (.+)", told.stdout)
    assert origins, told.stdout
    release = host.system_info.codename
    assert origins[1].split(", ") == [f"origin=Debian,codename={release}-security,label=Debian-Security"]
    assert host.service("apt-daily-upgrade.timer").is_running
    assert host.check_output("apt-config shell RUN APT::Periodic::Unattended-Upgrade") == "RUN='1'"


def test_what_is_logged_is_in_a_file(host: Host, eventually: Eventually) -> None:
    mark = uuid.uuid4().hex
    host.check_output(f"logger --tag sdlc-test {mark}")
    eventually(lambda: host.run(f"grep --quiet 'sdlc-test: {mark}' /var/log/syslog").rc == 0)


def test_the_host_takes_no_redirects_and_sends_none(host: Host) -> None:
    interface = host.check_output("ip -o route get 10.212.0.5").split(" dev ")[1].split()[0]
    assert host.sysctl("net.ipv4.conf.all.accept_redirects") == 0
    assert host.sysctl(f"net.ipv4.conf.{interface}.accept_redirects") == 0
    assert host.sysctl("net.ipv4.conf.all.send_redirects") == 0
    assert host.sysctl("net.ipv4.conf.all.rp_filter") == 1


def test_time_is_kept_where_the_clock_is_the_hosts_own(host: Host) -> None:
    kept = host.service("systemd-timesyncd")
    assert kept.is_enabled
    # In a container systemd starts it not: the clock is that of the machine beneath.
    in_container = host.run("systemd-detect-virt --container --quiet").rc == 0
    assert kept.is_running is not in_container

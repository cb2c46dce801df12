"""The services' containers: limits as in the guide's table, hardened, and no secret where one can look."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from wiring import port

# The guide's "Per-Service Resource Allocation" where it has the service; our own bounds for the others.
LIMITS = {
    "configuration-api": (0.5, 512),
    "jira-webhook-api": (0.5, 512),
    "developer-agent-consumer-1": (2, 2048),
    "agent-runner-1": (2, 2048),
    "agent-runner-2": (2, 2048),
    "llm-gateway": (0.5, 512),
    "mongodb-exporter-1": (0.25, 256),
}
NAMES = sorted(LIMITS)


@pytest.fixture(scope="module")
def containers(host: Any) -> Mapping[str, Any]:
    """What `docker inspect` tells of every container, by name."""
    identities = host.check_output("docker ps --quiet").split()
    facts = json.loads(host.check_output(f"docker inspect {' '.join(identities)}"))
    return {fact["Name"].lstrip("/"): fact for fact in facts}


def test_every_service_runs_and_nothing_else(host: Any, eventually: Any) -> None:
    # A runner that has just ended its job is on its way back.
    shown = "docker ps --all --format '{{.Names}} {{.Status}}'"

    def healthy() -> bool:
        lines = host.check_output(shown).splitlines()
        assert sorted(line.split()[0] for line in lines) == NAMES
        return all(line.endswith("(healthy)") for line in lines)

    eventually(healthy, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_the_guides(containers: Mapping[str, Any], name: str) -> None:
    cpus, memory_mb = LIMITS[name]
    limits = containers[name]["HostConfig"]
    assert limits["NanoCpus"] == cpus * 1_000_000_000
    assert limits["Memory"] == memory_mb * 1024 * 1024
    assert limits["MemorySwap"] == limits["Memory"]
    assert limits["MemoryReservation"] == limits["Memory"] / 2
    assert 0 < limits["PidsLimit"] <= 512


@pytest.mark.parametrize("name", NAMES)
def test_a_container_is_hardened(containers: Mapping[str, Any], name: str) -> None:
    fact = containers[name]
    settings = fact["HostConfig"]
    assert fact["Config"]["User"] == "10001:10001"
    assert settings["ReadonlyRootfs"] is True
    assert settings["CapDrop"] == ["ALL"]
    assert not settings["CapAdd"]
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    assert settings["Privileged"] is False
    assert settings["RestartPolicy"]["Name"] == "always"
    assert settings["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    writable = [(mount["Source"], mount["Destination"]) for mount in fact["Mounts"] if mount["RW"]]
    mirrors = [("/var/lib/sdlc-agents/mirrors", "/mirrors")]
    assert writable == (mirrors if name.startswith("developer-agent-consumer") else [])
    assert not [mount for mount in fact["Mounts"] if "docker.sock" in mount["Source"]]


def test_the_mirrors_belong_to_the_services_user_alone(host: Any) -> None:
    mirrors = host.file("/var/lib/sdlc-agents/mirrors")
    assert (mirrors.uid, mirrors.gid, mirrors.mode) == (10001, 10001, 0o700)


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_holds_the_service_to_it(host: Any, containers: Mapping[str, Any], name: str) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in host.check_output(f"docker exec {name} cat /proc/1/status").splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    assert status["NoNewPrivs"] == "1"
    assert "Read-only file system" in host.run(f"docker exec {name} touch /opt/mark").stderr
    assert containers[name]["State"]["Pid"] > 0


def test_the_apis_are_published_on_loopback_alone(containers: Mapping[str, Any]) -> None:
    published = {
        (name, binding["HostIp"], binding["HostPort"])
        for name, fact in containers.items()
        for bindings in fact["HostConfig"]["PortBindings"].values()
        for binding in bindings
    }
    assert published == {
        ("jira-webhook-api", "127.0.0.1", str(port("app_jira_webhook_api_port"))),
        ("configuration-api", "127.0.0.1", str(port("app_configuration_api_port"))),
    }


def test_no_secret_is_in_an_environment_an_argument_or_a_label(
    host: Any, containers: Mapping[str, Any], secrets: Mapping[str, str]
) -> None:
    values = {name: value.strip() for name, value in secrets.items() if len(value.strip()) >= 8}
    assert "secret_mongodb_webhook_password" in values
    told = json.dumps(containers) + host.check_output("ps -eo args --width 10000")
    for identity in containers:
        told += host.check_output(f"docker exec {identity} cat /proc/1/environ | tr '\\0' '\\n'")
    assert [name for name, value in values.items() if value in told] == []


def test_secret_files_are_for_root_and_the_containers_group(host: Any) -> None:
    folder = host.file("/etc/sdlc-agents/secrets")
    assert (folder.user, folder.mode) == ("root", 0o700)
    files = host.check_output("find /etc/sdlc-agents/secrets -mindepth 1 -printf '%U:%G:%m:%y\\n' | sort --unique")
    assert files.split() == ["0:10001:440:f"]
    assert host.run("runuser -u nobody -- ls /etc/sdlc-agents/secrets").rc != 0
    assert host.file("/etc/sdlc-agents/compose.yml").mode == 0o600


def test_a_service_sees_its_own_secrets_only(host: Any) -> None:
    assert host.run("docker exec agent-runner-1 ls /run/secrets").rc != 0
    seen = host.check_output("docker exec jira-webhook-api ls /run/secrets").split()
    assert seen == ["internal_ca.crt", "jira_webhook_secret", "webhook_mongo_url", "webhook_rabbitmq_url"]
    assert host.check_output("docker exec llm-gateway ls /run/secrets").split() == [
        "anthropic_api_key",
        "gateway_mongo_url",
        "internal_ca.crt",
    ]
    holders = [name for name in NAMES if host.run(f"docker exec {name} ls /run/secrets/field_encryption_key").rc == 0]
    assert holders == ["configuration-api", "developer-agent-consumer-1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_service_answers_health_and_ready_and_metrics(host: Any, containers: Mapping[str, Any], name: str) -> None:
    networks = containers[name]["NetworkSettings"]["Networks"]
    base = f"http://{next(iter(networks.values()))['IPAddress']}:{port('app_metrics_port')}"
    health = json.loads(host.check_output(f"curl --silent --fail {base}/health"))
    assert health["status"] == "healthy"
    assert health["timestamp"]
    assert host.run(f"curl --silent --fail {base}/ready").rc == 0
    assert "# TYPE" in host.check_output(f"curl --silent --fail {base}/metrics")


def test_services_run_from_one_image_and_runners_from_one_with_tools_and_no_other_is_kept(
    host: Any, containers: Mapping[str, Any]
) -> None:
    used = {name: fact["Config"]["Image"] for name, fact in containers.items()}
    runners = {image for name, image in used.items() if name.startswith("agent-runner-")}
    others = {image for name, image in used.items() if not name.startswith("agent-runner-")}
    assert (len(runners), len(others), runners & others) == (1, 1, set())
    kept = host.check_output(
        "docker images --format '{{.Repository}}:{{.Tag}}' --filter label=sdlc-agents.image"
    ).split()
    bases = {name for name in kept if name.startswith(("sdlc-agents-base:", "sdlc-agents-runner-base:"))}
    assert (len(bases), sorted(kept)) == (2, sorted(runners | others | bases))


def test_only_runners_have_the_tools_of_projects(host: Any, containers: Mapping[str, Any]) -> None:
    have = [name for name in containers if host.run(f"docker exec {name} sh -c 'command -v make'").rc == 0]
    assert have == [name for name in containers if name.startswith("agent-runner-")]
    assert have


def test_a_runner_has_an_empty_place_to_work_in_and_may_run_programs_there(host: Any) -> None:
    script = "printf '#!/bin/sh\\necho ran\\n' > /job/probe && chmod +x /job/probe && /job/probe; rm -f /job/probe"
    assert host.check_output(f'docker exec agent-runner-2 sh -c "{script}"').strip() == "ran"
    assert host.run("docker exec agent-runner-2 sh -c 'cp /bin/true /tmp/true && /tmp/true'").rc != 0


@pytest.mark.alone
def test_a_service_that_dies_comes_back(host: Any, eventually: Any) -> None:
    before = host.check_output("docker inspect --format '{{.RestartCount}}' mongodb-exporter-1")
    host.check_output("docker exec mongodb-exporter-1 sh -c 'kill 1'")

    def healthy_again() -> bool:
        told = host.check_output(
            "docker inspect --format '{{.RestartCount}} {{.State.Health.Status}}' mongodb-exporter-1"
        )
        count, health = told.split()
        return int(count) > int(before) and health == "healthy"

    eventually(healthy_again, timeout=60)


def test_what_runs_in_a_runner_cannot_end_it(host: Any) -> None:
    asked = "docker inspect --format '{{.State.StartedAt}} {{.State.Status}}' agent-runner-2"
    before = host.check_output(asked)
    # Process 1 is the runner, which the kernel shields from signals of its own container.
    host.check_output("docker exec agent-runner-2 sh -c 'kill -KILL 1; kill -STOP 1'")
    answered = "docker exec agent-runner-2 sdlc-agents healthcheck"
    assert host.run(answered).rc == 0
    assert host.check_output(asked) == before

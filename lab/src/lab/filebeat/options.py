"""The options of Filebeat's reference that the stand-in has, and how their values are written.

Each table maps an option's dotted path to the kind of its value. An option that is not here is
refused, even if the real Filebeat has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# What YAML can hold: text, numbers, lists, mappings.
Yaml = Any
Tree = Mapping[str, Yaml]
Flat = dict[str, Yaml]


class ConfigError(Exception):
    """The configuration is not one that Filebeat would run with."""


def text(value: Yaml) -> str:
    """A string; YAML's numbers are taken as their text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a string")
    return str(value)


def flag(value: Yaml) -> bool:
    """true or false."""
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def off(value: Yaml) -> bool:
    """false: what the stand-in does not have must be switched off."""
    if flag(value):
        raise ValueError("must be false: this stand-in does not have it")
    return False


def on(value: Yaml) -> bool:
    """true: what the stand-in always does."""
    if not flag(value):
        raise ValueError("must be true: this stand-in always does it")
    return True


def number(value: Yaml) -> int:
    """A whole number that is not negative."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number")
    return value


def seconds(value: Yaml) -> float:
    """A duration as Go writes it (300ms, 1.5h, 1m30s), or a number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    if not isinstance(value, str) or not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", value):
        raise ValueError("must be a duration such as 10s or 5m")
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    return sum(float(amount) * units[unit] for amount, unit in found)


def texts(value: Yaml) -> list[str]:
    """A list of strings."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return [text(item) for item in value]


def patterns(value: Yaml) -> list[re.Pattern[str]]:
    """A list of regular expressions."""
    try:
        return [re.compile(item) for item in texts(value)]
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error


def mapping(value: Yaml) -> dict[str, Yaml]:
    """Any mapping."""
    if not isinstance(value, dict):
        raise ValueError("must be a mapping")
    return value


def items(value: Yaml) -> list[dict[str, Yaml]]:
    """A list of mappings with one key each, as processors and parsers are."""
    if not isinstance(value, list) or not all(isinstance(i, dict) and len(i) == 1 for i in value):
        raise ValueError("must be a list of mappings with one key each")
    return [dict(item) for item in value]


def listing(value: Yaml) -> list[Yaml]:
    """Any list."""
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


def nothing(value: Yaml) -> None:
    """An option that has no value (`~`)."""
    if value not in (None, {}):
        raise ValueError("takes no value")


def one_of(*choices: Yaml) -> Callable[[Yaml], Yaml]:
    """One of *choices*: those of the reference that the stand-in has."""

    def check(value: Yaml) -> Yaml:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(str(choice) for choice in choices)}")
        return value

    return check


Kind = Callable[[Yaml], Yaml]
Table = Mapping[str, Kind]

TOP: Table = {
    "filebeat.inputs": listing,
    "filebeat.config.inputs.enabled": flag,
    "filebeat.config.inputs.path": text,
    "filebeat.config.inputs.reload.enabled": off,
    "filebeat.config.modules.enabled": off,
    "filebeat.config.modules.path": text,
    "filebeat.config.modules.reload.enabled": flag,
    "filebeat.registry.path": text,
    "filebeat.registry.file_permissions": one_of(0o600, "0600"),
    "filebeat.registry.flush": seconds,
    "filebeat.shutdown_timeout": seconds,
    "name": text,
    "tags": texts,
    "fields": mapping,
    "fields_under_root": flag,
    "max_procs": number,
    "processors": items,
    "queue.mem.events": number,
    "queue.mem.flush.min_events": number,
    "queue.mem.flush.timeout": seconds,
    "output.elasticsearch": mapping,
    "setup.template.enabled": flag,
    "setup.template.name": text,
    "setup.template.pattern": text,
    "setup.template.overwrite": flag,
    "setup.template.priority": number,
    "setup.template.settings": mapping,
    "setup.ilm.enabled": off,
    "setup.dashboards.enabled": off,
    "monitoring.enabled": off,
    "http.enabled": off,
    "logging.level": one_of("debug", "info", "warning", "error"),
    "logging.to_stderr": flag,
    "logging.to_syslog": off,
    "logging.to_files": flag,
    "logging.files.path": text,
    "logging.files.name": text,
    "logging.files.keepfiles": number,
    "logging.files.permissions": one_of(0o600, "0600", 0o640, "0640", 0o644, "0644"),
    "logging.files.rotateeverybytes": number,
    "logging.files.rotateonstartup": flag,
    "logging.metrics.enabled": flag,
    "logging.metrics.period": seconds,
    "path.home": text,
    "path.config": text,
    "path.data": text,
    "path.logs": text,
}

ELASTICSEARCH: Table = {
    "enabled": on,
    "hosts": texts,
    "protocol": one_of("https", "http"),
    "path": text,
    "username": text,
    "password": text,
    "api_key": text,
    "index": text,
    "pipeline": text,
    "headers": mapping,
    "compression_level": number,
    "preset": one_of("balanced", "throughput", "scale", "latency", "custom"),
    "worker": number,
    "bulk_max_size": number,
    "max_retries": number,
    "timeout": seconds,
    "backoff.init": seconds,
    "backoff.max": seconds,
    "allow_older_versions": flag,
    "proxy_disable": on,
    "ssl.enabled": flag,
    "ssl.certificate_authorities": texts,
    "ssl.certificate": text,
    "ssl.key": text,
    "ssl.verification_mode": one_of("full", "strict"),
    "ssl.supported_protocols": texts,
}

_EVERY_INPUT: Table = {
    "type": text,
    "id": text,
    "enabled": flag,
    "tags": texts,
    "fields": mapping,
    "fields_under_root": flag,
    "processors": items,
    "pipeline": text,
    "index": text,
    "publisher_pipeline.disable_host": flag,
    "parsers": items,
}

INPUTS: Mapping[str, Table] = {
    "filestream": {
        **_EVERY_INPUT,
        "paths": texts,
        "encoding": one_of("plain", "utf-8"),
        "include_lines": patterns,
        "exclude_lines": patterns,
        "message_max_bytes": number,
        "ignore_older": seconds,
        "clean_inactive": seconds,
        "clean_removed": flag,
        "harvester_limit": number,
        "backoff.init": seconds,
        "backoff.max": seconds,
        "close.on_state_change.inactive": seconds,
        "close.on_state_change.renamed": flag,
        "close.on_state_change.removed": flag,
        "close.reader.on_eof": flag,
        "file_identity.native": nothing,
        "prospector.scanner.check_interval": seconds,
        "prospector.scanner.symlinks": flag,
        "prospector.scanner.recursive_glob": flag,
        "prospector.scanner.include_files": patterns,
        "prospector.scanner.exclude_files": patterns,
        "prospector.scanner.fingerprint.enabled": off,
    },
    "container": {
        **_EVERY_INPUT,
        "paths": texts,
        "stream": one_of("all", "stdout", "stderr"),
        "format": one_of("auto", "docker"),
        "include_lines": patterns,
        "exclude_lines": patterns,
        "exclude_files": patterns,
        "scan_frequency": seconds,
        "ignore_older": seconds,
        "close_inactive": seconds,
        "close_removed": flag,
        "clean_inactive": seconds,
        "clean_removed": flag,
        "symlinks": flag,
        "max_bytes": number,
    },
    "journald": {
        **_EVERY_INPUT,
        "seek": one_of("head", "tail", "since"),
        "since": text,
        "units": texts,
        "syslog_identifiers": texts,
        "transports": texts,
        "include_matches.match": texts,
    },
}

PARSERS: Mapping[str, Table] = {
    "container": {
        "stream": one_of("all", "stdout", "stderr"),
        "format": one_of("auto", "docker"),
    },
    "ndjson": {
        "target": text,
        "overwrite_keys": flag,
        "expand_keys": flag,
        "add_error_key": flag,
        "message_key": text,
        "ignore_decoding_error": flag,
    },
    "multiline": {
        "type": one_of("pattern"),
        "pattern": lambda value: patterns([value])[0],
        "negate": flag,
        "match": one_of("after"),
        "max_lines": number,
        "timeout": seconds,
    },
}

PROCESSORS: Mapping[str, Table] = {
    "add_fields": {"target": text, "fields": mapping},
    "add_labels": {"labels": mapping},
    "add_tags": {"target": text, "tags": texts},
    "add_host_metadata": {"netinfo.enabled": off, "cache.ttl": seconds},
    "add_docker_metadata": {
        "host": text,
        "match_source": flag,
        "match_source_index": number,
        "labels.dedot": flag,
    },
    "copy_fields": {"fields": listing, "fail_on_error": flag, "ignore_missing": flag},
    "decode_json_fields": {
        "fields": texts,
        "process_array": flag,
        "max_depth": number,
        "target": text,
        "overwrite_keys": flag,
        "expand_keys": flag,
        "add_error_key": flag,
    },
    "drop_event": {},
    "drop_fields": {"fields": texts, "ignore_missing": flag},
    "include_fields": {"fields": texts},
    "rename": {"fields": listing, "fail_on_error": flag, "ignore_missing": flag},
    "timestamp": {
        "field": text,
        "target_field": text,
        "layouts": texts,
        "timezone": text,
        "ignore_missing": flag,
        "ignore_failure": flag,
        "test": texts,
    },
}


def nested(tree: Yaml) -> Yaml:
    """*tree* with dotted keys opened up: `a.b: 1` is `a: {b: 1}`."""
    if isinstance(tree, list):
        return [nested(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    result: dict[str, Yaml] = {}
    for key, value in tree.items():
        *folders, last = str(key).split(".")
        place = result
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {folder} has a value already")
        inner = nested(value)
        if last in place and not (isinstance(place[last], dict) and isinstance(inner, dict)):
            raise ConfigError(f"{key} is there twice")
        place[last] = {**place[last], **inner} if last in place else inner
    return result


def take(tree: Tree, table: Table, where: str) -> Flat:
    """The values of *tree* by their dotted paths.

    Raises:
        ConfigError: An option is not in *table*, or its value is not of its kind.
    """
    flat: Flat = {}

    def walk(branch: Tree, prefix: str) -> None:
        for key, value in branch.items():
            path = f"{prefix}{key}"
            if path in table:
                try:
                    flat[path] = table[path](value)
                except (TypeError, ValueError) as error:
                    raise ConfigError(f"{where}: {path}: {error}") from error
            elif isinstance(value, dict) and any(name.startswith(f"{path}.") for name in table):
                walk(value, f"{path}.")
            else:
                raise ConfigError(f"{where}: {path} is not an option that this stand-in has")

    walk(tree, "")
    return flat

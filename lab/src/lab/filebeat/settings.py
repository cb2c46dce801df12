"""Reads filebeat.yml, refuses what Filebeat would not run with, and keeps the rest typed."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import options
from .options import ConfigError, Flat, Table, Yaml


@dataclass(frozen=True)
class Paths:
    """Filebeat's folders: --path.home, --path.config, --path.data, --path.logs."""

    home: Path
    config: Path
    data: Path
    logs: Path

    @property
    def keystore(self) -> Path:
        """The file of `filebeat keystore`."""
        return self.data / "filebeat.keystore"


@dataclass(frozen=True)
class Input:
    """One entry of filebeat.inputs."""

    kind: str
    identity: str
    options: Flat
    parsers: list[tuple[str, Flat]]
    processors: list[tuple[str, Flat]]


@dataclass(frozen=True)
class Settings:
    """A whole configuration that is valid."""

    top: Flat
    inputs: list[Input]
    processors: list[tuple[str, Flat]]
    output: Flat
    paths: Paths


def load(file: Path, paths: Paths, *, strict_permissions: bool = True) -> Settings:
    """Read *file*.

    Raises:
        ConfigError: It cannot be read, or Filebeat or this stand-in would not run with it.
    """
    tree = _read(file, paths, strict=strict_permissions)
    top = options.take(tree, options.TOP, str(file))
    if "output.elasticsearch" not in top:
        raise ConfigError("no outputs are defined, please define one under the output section")
    output = options.take(top["output.elasticsearch"], options.ELASTICSEARCH, "output.elasticsearch")
    _check_output(output, top)
    entries = list(top.get("filebeat.inputs", []))
    if top.get("filebeat.config.inputs.enabled", "filebeat.config.inputs.path" in top):
        entries += _included(top["filebeat.config.inputs.path"], paths, strict=strict_permissions)
    inputs = [_input(entry) for entry in entries]
    active = [entry for entry in inputs if entry.options.get("enabled", True)]
    if not active:
        raise ConfigError("no modules or inputs enabled and configuration reloading disabled")
    identities = [entry.identity for entry in active]
    twice = sorted({name for name in identities if identities.count(name) > 1})
    if twice:
        raise ConfigError(f"input id is duplicated: {', '.join(twice)}")
    processors = _processors(top.get("processors", []), "processors")
    return Settings(top, active, processors, output, paths)


def keystore(paths: Paths) -> dict[str, str]:
    """The names and secrets of the keystore."""
    if not paths.keystore.is_file():
        return {}
    if paths.keystore.stat().st_mode & 0o077:
        raise ConfigError(f"{paths.keystore} must be readable by its owner only")
    stored = json.loads(paths.keystore.read_text())
    return {name: base64.b64decode(value).decode() for name, value in stored.items()}


def _read(file: Path, paths: Paths, *, strict: bool) -> Yaml:
    try:
        facts = file.stat()
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    if strict and facts.st_uid not in {0, os.geteuid()}:
        raise ConfigError(f"{file} must be owned by root or by the user that runs Filebeat")
    if strict and stat.S_IMODE(facts.st_mode) & 0o022:
        raise ConfigError(f"{file} can only be writable by the owner")
    try:
        tree = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    names = {
        **os.environ,
        **keystore(paths),
        "path.home": str(paths.home),
        "path.config": str(paths.config),
        "path.data": str(paths.data),
        "path.logs": str(paths.logs),
    }
    return _filled(options.nested(tree or {}), names)


def _filled(value: Yaml, names: dict[str, str]) -> Yaml:
    """*value* with each ${name} and ${name:default} replaced."""
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        name, separator, default = found[1].partition(":")
        if name in names:
            return names[name]
        if separator:
            return default
        raise ConfigError(f"missing field accessing ${{{name}}}: neither keystore nor environment has it")

    return re.sub(r"\$\{([^}]+)\}", replacement, value)


def _included(pattern: str, paths: Paths, *, strict: bool) -> list[Yaml]:
    entries: list[Yaml] = []
    folder = Path(pattern) if pattern.startswith("/") else paths.config / pattern
    for file in sorted(folder.parent.glob(folder.name)):
        content = _read(file, paths, strict=strict)
        if not isinstance(content, list):
            raise ConfigError(f"{file} must be a list of inputs")
        entries += content
    return entries


def _input(entry: Yaml) -> Input:
    if not isinstance(entry, dict) or entry.get("type") not in options.INPUTS:
        kinds = ", ".join(options.INPUTS)
        raise ConfigError(f"filebeat.inputs: every input has a type, and this stand-in has: {kinds}")
    kind = str(entry["type"])
    where = f"input {entry.get('id', kind)}"
    flat = options.take(entry, options.INPUTS[kind], where)
    if kind != "journald" and not flat.get("paths"):
        raise ConfigError(f"{where}: no paths were defined")
    if kind == "filestream" and "id" not in flat:
        raise ConfigError(f"{where}: filestream inputs need an id of their own")
    parsers = [_named(item, options.PARSERS, f"{where}: parsers") for item in flat.get("parsers", [])]
    if kind == "container":
        shape: Flat = {key: flat[key] for key in ("stream", "format") if key in flat}
        parsers.insert(0, ("container", shape))
    identity = flat.get("id", f"{kind}-{'-'.join(flat.get('paths', []))}")
    return Input(kind, identity, flat, parsers, _processors(flat.get("processors", []), where))


def _processors(entries: list[dict[str, Yaml]], where: str) -> list[tuple[str, Flat]]:
    return [_named(entry, options.PROCESSORS, where) for entry in entries]


def _named(entry: dict[str, Yaml], tables: Mapping[str, Table], where: str) -> tuple[str, Flat]:
    ((name, body),) = entry.items()
    if name not in tables:
        raise ConfigError(f"{where}: {name} is not one that this stand-in has")
    body = dict(body or {})
    when = body.pop("when", None)
    flat = options.take(body, tables[name], f"{where}: {name}")
    if when is not None:
        flat["when"] = when
    return name, flat


def _check_output(output: Flat, top: Flat) -> None:
    if not output.get("hosts"):
        raise ConfigError("output.elasticsearch: hosts is required")
    if "api_key" in output and ("username" in output or "password" in output):
        raise ConfigError("output.elasticsearch: cannot set both api_key and username/password")
    if ("username" in output) != ("password" in output):
        raise ConfigError("output.elasticsearch: username and password go together")
    if "api_key" in output and ":" not in output["api_key"]:
        raise ConfigError("output.elasticsearch: api_key is id:key")
    template = top.get("setup.template.enabled", True)
    named = "setup.template.name" in top and "setup.template.pattern" in top
    if "index" in output and template and not named:
        raise ConfigError("setup.template.name and setup.template.pattern have to be set if index name is modified")
    if top.get("setup.ilm.enabled") is not False:
        raise ConfigError("setup.ilm.enabled: this stand-in sets up no lifecycle policy; set it to false")

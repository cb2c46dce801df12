"""The command line: `filebeat [run]`, `test config`, `test output`, `keystore …`, `version`."""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import http.client
import json
import os
import signal
import sys
import threading
from pathlib import Path

from . import STAND_IN, VERSION, settings
from .options import ConfigError
from .output import Elasticsearch, OutputError
from .settings import Paths, Settings
from .shipper import Shipper


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    paths = Paths(*(Path(options.__dict__[f"path.{name}"]) for name in _FOLDERS))
    command = (options.command, getattr(options, "what", ""))
    try:
        if command[0] == "version":
            sys.stdout.write(f"filebeat version {VERSION} (amd64), {STAND_IN}\n")
        elif command[0] == "keystore":
            return _keystore(options, paths)
        elif command == ("test", "config"):
            Shipper(_load(options, paths))
            sys.stdout.write("Config OK\n")
        elif command == ("test", "output"):
            return _test_output(_load(options, paths))
        else:
            _run(_load(options, paths), options)
    except ConfigError as error:
        sys.stderr.write(f"Exiting: error loading config file: {error}\n")
        return 1
    return 0


_FOLDERS = {
    "home": "/usr/share/filebeat",
    "config": "/etc/filebeat",
    "data": "/var/lib/filebeat",
    "logs": "/var/log/filebeat",
}


def _parser() -> argparse.ArgumentParser:
    # Options may stand before or after the command; only those that were given are set there.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-c", "--c", dest="file")
    common.add_argument("-e", "--e", dest="stderr", action="store_true")
    common.add_argument("--environment", choices=["default", "systemd", "container"])
    common.add_argument("--strict.perms", dest="strict", choices=["true", "false"])
    for name in _FOLDERS:
        common.add_argument(f"--path.{name}", dest=f"path.{name}")
    parser = argparse.ArgumentParser(prog="filebeat", description=f"Filebeat {VERSION}: {STAND_IN}", parents=[common])
    parser.set_defaults(
        file="filebeat.yml",
        stderr=False,
        environment="default",
        strict="true",
        command="run",
        **{f"path.{name}": folder for name, folder in _FOLDERS.items()},
    )
    commands = parser.add_subparsers(dest="command", required=False)
    for name in ("run", "version"):
        commands.add_parser(name, parents=[common])
    test = commands.add_parser("test", parents=[common])
    test.add_argument("what", choices=["config", "output"])
    test.add_argument("after", nargs="*", help=argparse.SUPPRESS)
    keystore = commands.add_parser("keystore", parents=[common])
    keystore.add_argument("what", choices=["create", "add", "list", "remove"])
    keystore.add_argument("names", nargs="*")
    keystore.add_argument("--stdin", action="store_true")
    keystore.add_argument("--force", action="store_true")
    return parser


def _load(options: argparse.Namespace, paths: Paths) -> Settings:
    return settings.load(paths.config / options.file, paths, strict_permissions=options.strict == "true")


def _run(loaded: Settings, options: argparse.Namespace) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loaded.paths.data.mkdir(parents=True, exist_ok=True, mode=0o750)
    by_default = options.environment == "default"
    to_files = loaded.top.get("logging.to_files", by_default) and not loaded.top.get("logging.to_stderr")
    with contextlib.ExitStack() as stack:
        if to_files and not options.stderr:
            folder = Path(loaded.top.get("logging.files.path", loaded.paths.logs))
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            name = loaded.top.get("logging.files.name", "filebeat")
            day = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
            file = stack.enter_context((folder / f"{name}-{day}.ndjson").open("a"))
            stack.enter_context(contextlib.redirect_stderr(file))
        Shipper(loaded).run(stop)


def _test_output(loaded: Settings) -> int:
    output = Elasticsearch(loaded.output)
    try:
        sys.stdout.write(f"elasticsearch: {output.connect()}... OK\n")
    except (OSError, http.client.HTTPException, OutputError, ValueError, KeyError) as error:
        sys.stdout.write(f"elasticsearch: ERROR {error}\n")
        return 1
    return 0


def _keystore(options: argparse.Namespace, paths: Paths) -> int:
    try:
        stored = _changed(options, settings.keystore(paths), exists=paths.keystore.is_file())
    except _RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.what == "list":
        sys.stdout.write("".join(f"{name}\n" for name in sorted(stored)))
        return 0
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in stored.items()}
    paths.keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    descriptor = os.open(paths.keystore, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(encoded, file)
    sys.stdout.write(f"Successfully updated the keystore {paths.keystore}\n")
    return 0


class _RefusedError(Exception):
    """The keystore stays as it is."""


def _changed(options: argparse.Namespace, stored: dict[str, str], *, exists: bool) -> dict[str, str]:
    if options.what == "create":
        if exists and not options.force:
            raise _RefusedError("the keystore exists already; --force makes a new one")
        return {}
    if not exists:
        raise _RefusedError("The filebeat keystore doesn't exist. Use the 'create' command to create one.")
    stored = dict(stored)
    for name in options.names:
        if options.what == "remove" and stored.pop(name, None) is None:
            raise _RefusedError(f"could not find key {name} in the keystore")
        if options.what == "add":
            if name in stored and not options.force:
                raise _RefusedError(f"the key {name} exists already; --force replaces it")
            if not options.stdin:
                raise _RefusedError("this stand-in takes secrets from standard input only: --stdin")
            stored[name] = sys.stdin.read().rstrip("\n")
    return stored

"""The lab's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from lab import backends, engine, hosts, images, inventory, mirror, outside, setup
from lab.console import LabError, say
from lab.services.gitea import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the lab and return its exit status."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int | None] = options.action
    try:
        return action(options) or 0
    except LabError as error:
        say(f"FAILED: {error}")
        if error.hint:
            say(f"what to do: {error.hint}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="have all that hosts need: images, mirror, outside services")
    up.add_argument("--suite", choices=images.SUITES, action="append", help="default: trixie alone")
    up.set_defaults(action=lambda options: setup.up(tuple(options.suite or images.SUITES[:1])))
    down = commands.add_parser("down", help="remove every host and container; caches are kept")
    down.set_defaults(action=lambda _: setup.down())

    # These two need more than the standard library has: they are imported when they are asked for.
    demo = commands.add_parser("demo", help="from a bare host to a pull request")
    demo.set_defaults(action=lambda _: import_module("lab.demo").run())
    bench = commands.add_parser("bench-deploy", help="measure the deployment; writes docs/benchmarks/deploy.md")
    bench.set_defaults(action=lambda _: import_module("lab.bench").deploy())

    engine_command = commands.add_parser("engine", help="have a Docker engine and the network")
    engine_command.set_defaults(action=lambda _: engine.ensure())

    host = commands.add_parser("host", help="make, list and remove test hosts")
    verbs = host.add_subparsers(required=True, metavar="VERB")
    create = verbs.add_parser("create", help="have a host that is up and answers over SSH")
    create.add_argument("name")
    create.add_argument("--suite", choices=images.SUITES, default=images.SUITES[0])
    create.add_argument("--address", default="", help="on the lab's network; default: a free one")
    create.set_defaults(action=_create)
    destroy = verbs.add_parser("destroy", help="remove a host and its disk")
    destroy.add_argument("name")
    destroy.set_defaults(action=lambda options: hosts.destroy(options.name))
    listing = verbs.add_parser("list", help="name, address, suite and state of every host")
    listing.set_defaults(action=lambda _: _list())

    mirror_command = commands.add_parser("mirror", help="have the package mirror")
    mirror_command.set_defaults(action=lambda _: mirror.build())

    gitea = commands.add_parser("gitea", help="have a Gitea in the cache")
    gitea.set_defaults(action=lambda _: _build_gitea())

    inventory_command = commands.add_parser("inventory", help="write the inventory of test hosts")
    inventory_command.add_argument("names", nargs="*", default=[hosts.APPLIANCE], metavar="HOST[:GROUP,…]")
    inventory_command.set_defaults(action=lambda o: _write_inventory(o.names))

    outside_command = commands.add_parser("exec-outside", help="run a command on another host of the network")
    outside_command.add_argument("argument", nargs="+", help="after --, the command and its arguments")
    outside_command.set_defaults(action=lambda options: outside.run(options.argument))

    backend = commands.add_parser("test-services", help="a real MongoDB and RabbitMQ for tests")
    verbs = backend.add_subparsers(required=True, metavar="VERB")
    start = verbs.add_parser("up", help="have them running; prints the app's environment variables")
    start.set_defaults(action=lambda _: _backends_up())
    stop = verbs.add_parser("down", help="remove them")
    stop.set_defaults(action=lambda _: backends.down())
    return parser


def _create(options: argparse.Namespace) -> None:
    hosts.create(options.name, options.suite, options.address)


def _write_inventory(names: Sequence[str]) -> None:
    inventory.of(names)


def _backends_up() -> None:
    for name, value in backends.up().environment().items():
        sys.stdout.write(f"{name}={value}\n")


def _build_gitea() -> None:
    build.ensure()


def _list() -> None:
    for host in hosts.known() if engine.answers() else []:
        state = "up" if host.running else "stopped"
        sys.stdout.write(f"{host.name} {host.address} {host.suite} {state}\n")

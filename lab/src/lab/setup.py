"""The whole lab at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab import backends, engine, hosts, images, mirror, outside
from lab.console import say
from lab.mirror import server
from lab.services import container


def up(suites: tuple[str, ...] = images.SUITES[:1]) -> None:
    """Have all that hosts need: engine, network, images, package mirror, outside services."""
    engine.ensure()
    with ThreadPoolExecutor(max_workers=2) as pool:
        # Building Gitea keeps a core busy for minutes; the rest mostly waits for the network.
        built = pool.submit(container.prefetch)
        mirror.build(suites)
        for suite in suites:
            images.host(suite)
        built.result()
    container.up()
    outside.up()
    say("the lab is up")


def down() -> None:
    """Remove every host and container of the lab. Images, volumes of caches and keys stay."""
    if not engine.answers():
        return
    for host in hosts.known():
        hosts.destroy(host.name)
    backends.down()
    container.down()
    outside.down()
    server.down()
    engine.stop()
    say("the lab is down; its caches are kept")

"""The package mirror: what an appliance installs, under the vendors' names, in one folder.

The folder is served as https://mirror.lab/: `apt/<vendor>/` is a signed apt repository of packages that
the lab builds under that vendor's names, `pypi/simple/` a Python package index of the app's locked wheels.
"""

from __future__ import annotations

from lab import images, paths
from lab.console import step
from lab.mirror import debs, docker, filebeat, mongodb, repository, server, wheels
from lab.process import locked

URL = "https://mirror.lab"
PYPI_URL = f"{URL}/pypi/simple"


def build(suites: tuple[str, ...] = images.SUITES[:1]) -> None:
    """Have the mirror serve what appliances on hosts of *suites* install; what it served before stays."""
    server.up()
    folder = paths.state("mirror", "apt").parent
    folder.chmod(0o755)
    with locked("mirror"), step("the package mirror"):
        vendors = {"mongodb": mongodb.packages(), "elastic": [filebeat.package()]}
        if "bookworm" in suites:
            vendors["docker"] = docker.packages()
        for vendor, packages in vendors.items():
            repository.publish(folder / "apt" / vendor, [debs.build(package) for package in packages])
        lock = paths.CHECKOUT / "app" / "requirements.txt"
        wheels.publish(folder / "pypi", lock, suites)

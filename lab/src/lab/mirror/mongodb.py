"""MongoDB under its vendor's package names, with the vendor's paths, user and unit."""

from __future__ import annotations

from lab import downloads
from lab.mirror.debs import File, Package

_MAINTAINER = "The lab of SDLC agents <lab@example.invalid>"

_CONFIGURATION = """\
# mongod.conf, as the package ships it

storage:
  dbPath: /var/lib/mongodb

systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log

net:
  port: 27017
  bindIp: 127.0.0.1

processManagement:
  timeZoneInfo: /usr/share/zoneinfo
"""

_UNIT = """\
[Unit]
Description=MongoDB Database Server
Documentation=https://docs.mongodb.org/manual
After=network-online.target
Wants=network-online.target

[Service]
User=mongodb
Group=mongodb
EnvironmentFile=-/etc/default/mongod
Environment="MONGODB_CONFIG_OVERRIDE_NOFORK=1"
ExecStart=/usr/bin/mongod --config /etc/mongod.conf
RuntimeDirectory=mongodb
LimitFSIZE=infinity
LimitCPU=infinity
LimitAS=infinity
LimitMEMLOCK=infinity
TasksMax=infinity
TasksAccounting=false

[Install]
WantedBy=multi-user.target
"""

# As the vendor's: the user exists, the service neither is enabled nor started.
_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if ! getent passwd mongodb >/dev/null; then
        useradd --system --home-dir /home/mongodb --no-create-home --shell /usr/sbin/nologin \\
            --user-group mongodb
    fi
    install -d -m 0755 -o mongodb -g mongodb /var/lib/mongodb /var/log/mongodb
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
    fi
fi
"""

_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop mongod.service >/dev/null || true
fi
"""


def packages() -> list[Package]:
    """The server, and the vendor's meta package that depends on it."""
    version = downloads.MONGOD_VERSION
    server = Package(
        "mongodb-org-server",
        version,
        {
            "Architecture": "amd64",
            "Maintainer": _MAINTAINER,
            "Section": "database",
            "Depends": "libc6, libcurl4t64 | libcurl4, libgcc-s1, liblzma5, libssl3t64 | libssl3, passwd, tzdata",
            "Description": "MongoDB database server (packed by the lab)\n"
            " A real mongod under the vendor's package name, with its paths, user and unit.\n"
            " For test hosts only.",
        },
        {
            "/usr/bin/mongod": File(downloads.mongod(), 0o755),
            "/etc/mongod.conf": File(_CONFIGURATION),
            "/lib/systemd/system/mongod.service": File(_UNIT),
        },
        ("/etc/mongod.conf",),
        {"postinst": _POSTINST, "prerm": _PRERM},
    )
    meta = Package(
        "mongodb-org",
        version,
        {
            "Architecture": "amd64",
            "Maintainer": _MAINTAINER,
            "Section": "database",
            "Depends": f"mongodb-org-server (= {version})",
            "Description": "MongoDB, all of it that the lab has (packed by the lab)\n"
            " The vendor's also brings the shell and the database tools; this one does not.",
        },
    )
    return [server, meta]

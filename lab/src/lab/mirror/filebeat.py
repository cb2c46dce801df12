"""The package `filebeat`: the lab's stand-in with the vendor's paths, unit and wrapper."""

from __future__ import annotations

from lab import filebeat, paths
from lab.mirror.debs import File, Package

_LIBRARY = "/usr/share/filebeat/stand-in/filebeat_stand_in"

_PROGRAM = """\
#!/usr/bin/python3 -I
# The lab's stand-in for Filebeat; see the package's description.
import sys

sys.path.insert(0, "/usr/share/filebeat/stand-in")
sys.dont_write_bytecode = True
from filebeat_stand_in.cli import main

sys.exit(main())
"""

_PATHS = (
    "--path.home /usr/share/filebeat --path.config /etc/filebeat "
    "--path.data /var/lib/filebeat --path.logs /var/log/filebeat"
)

_WRAPPER = """\
#!/bin/bash
# Runs Filebeat with the package's folders.
exec /usr/share/filebeat/bin/filebeat @PATHS@ "$@"
"""

_UNIT = """\
[Unit]
Description=Filebeat sends log files to Logstash or directly to Elasticsearch.
Documentation=https://www.elastic.co/beats/filebeat
Wants=network-online.target
After=network-online.target

[Service]
UMask=0027
Environment="GODEBUG='madvdontneed=1'"
Environment="BEAT_LOG_OPTS="
Environment="BEAT_CONFIG_OPTS=-c /etc/filebeat/filebeat.yml"
Environment="BEAT_PATH_OPTS=@PATHS@"
ExecStart=/usr/share/filebeat/bin/filebeat --environment systemd $BEAT_LOG_OPTS $BEAT_CONFIG_OPTS $BEAT_PATH_OPTS
Restart=always

[Install]
WantedBy=multi-user.target
"""

_CONFIGURATION = """\
# As the package ships it: no input is enabled.
filebeat.inputs:
  - type: filestream
    id: my-filestream-id
    enabled: false
    paths:
      - /var/log/*.log
output.elasticsearch:
  hosts: ["localhost:9200"]
"""

_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
"""

_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop filebeat.service >/dev/null || true
fi
"""


def package() -> Package:
    """The package, made from `lab/filebeat/`."""
    sources = sorted((paths.PACKAGE / "filebeat").glob("*.py"))
    return Package(
        "filebeat",
        filebeat.VERSION,
        {
            "Architecture": "amd64",
            "Maintainer": "The lab of SDLC agents <lab@example.invalid>",
            "Section": "admin",
            "Depends": "python3 (>= 3.11), python3-yaml",
            "Description": "Stand-in for Filebeat, for test hosts only\n"
            " NOT Elastic's Filebeat: a small program of the lab that takes part of its\n"
            " configuration, refuses the rest, and ships log lines to the Bulk API.",
        },
        {
            "/usr/share/filebeat/bin/filebeat": File(_PROGRAM, 0o755),
            "/usr/bin/filebeat": File(_WRAPPER.replace("@PATHS@", _PATHS), 0o755),
            "/lib/systemd/system/filebeat.service": File(_UNIT.replace("@PATHS@", _PATHS)),
            "/etc/filebeat/filebeat.yml": File(_CONFIGURATION, 0o600),
            **{f"{_LIBRARY}/{source.name}": File(source) for source in sources},
        },
        ("/etc/filebeat/filebeat.yml",),
        {"postinst": _POSTINST, "prerm": _PRERM},
    )

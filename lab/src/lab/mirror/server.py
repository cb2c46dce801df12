"""The container that serves the mirror, and the lab's name server."""

from __future__ import annotations

from lab import containers, engine, images, machine, paths
from lab.process import content_key, locked, write
from lab.services import SERVICES_ADDRESS, tls
from lab.services.container import NAMES

CONTAINER = "sdlc-lab-mirror"
ADDRESS = "10.212.0.4"
NAME = "mirror.lab"

_PACKAGES = ("nginx-light", "dnsmasq-base")

# A package's file never changes under its name, so it is kept; for indexes the archive itself says
# how long they are good. apt checks signatures: the way to the archive needs no trust.
_NGINX = """\
user root;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
    access_log off;
    types { text/html html; text/plain asc; }
    default_type application/octet-stream;
    sendfile on;
    resolver 127.0.0.11 ipv6=off;
    proxy_cache_path /cache/packages levels=2 keys_zone=debian:10m inactive=90d max_size=20g
        use_temp_path=off;
    proxy_cache debian;
    proxy_cache_lock on;
    proxy_cache_lock_timeout 300s;
    proxy_cache_valid 200 1m;
    proxy_cache_revalidate on;
    proxy_cache_use_stale error timeout updating;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_ssl_server_name on;
    proxy_read_timeout 120s;
    map $uri $archive {
        ~^/debian-security/ %(security)s;
        default %(archive)s;
    }
    server {
        listen 80;
        listen 443 ssl;
        server_name mirror.lab;
        ssl_certificate /tls/mirror.crt;
        ssl_certificate_key /tls/mirror.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        absolute_redirect off;
        location = /healthy { return 204; }
        location / { root /mirror; index index.html; }
        location ~ ^/debian(?:-security)?/(?<file>pool/.*|dists/.*/by-hash/.*)$ {
            proxy_ignore_headers Cache-Control Expires;
            proxy_cache_valid 200 90d;
            proxy_pass $archive/$file;
        }
        location ~ ^/debian(?:-security)?/(?<file>.*)$ {
            proxy_pass $archive/$file;
        }
    }
}
"""

# Names of the lab are answered here, those of containers and of the world by Docker's resolver.
_DNSMASQ = """\
no-resolv
no-hosts
server=127.0.0.11
local=/lab/
cache-size=1000
"""


def up() -> None:
    """Have the mirror's container running; what it serves is made by `lab.mirror.build`."""
    engine.ensure()
    image = images.programs("mirror", _PACKAGES)
    with locked("mirror-server"):
        certificate, key = tls.issue(paths.state(), "mirror", [NAME, ADDRESS])
        folder = paths.state("mirror", "apt").parent
        folder.chmod(0o755)
        cache = paths.cache("debian", "packages").parent
        configuration = paths.state("mirror-server", "nginx.conf").parent
        files = {"nginx.conf": _nginx(), "dnsmasq.conf": _DNSMASQ + _records()}
        for name, content in files.items():
            write(configuration / name, content)
        start = "dnsmasq --conf-file=/lab/dnsmasq.conf --user=root && exec nginx -c /lab/nginx.conf -g 'daemon off;'"
        wanted = containers.Container(
            name=CONTAINER,
            image=image,
            hostname="mirror",
            address=ADDRESS,
            command=["sh", "-c", start],
            binds=[
                f"{configuration}:/lab:ro",
                f"{folder}:/mirror:ro",
                f"{cache}:/cache",
                f"{certificate}:/tls/mirror.crt:ro",
                f"{key}:/tls/mirror.key:ro",
            ],
        )
        containers.ensure(wanted, content_key(repr(wanted), *files.values(), certificate.read_text()))
        ask = f"import urllib.request as r; r.urlopen('http://{ADDRESS}/healthy', timeout=2)"
        containers.wait_for(CONTAINER, ["python3", "-c", ask], "the mirror answers", timeout=60)


def down() -> None:
    """Remove the container; what it served and its cache stay."""
    containers.remove(CONTAINER)


def _records() -> str:
    records = [f"host-record={NAME},{ADDRESS}"]
    records += [f"host-record={name},{SERVICES_ADDRESS}" for name in NAMES]
    return "\n".join(records) + "\n"


def _nginx() -> str:
    mirror = machine.apt_mirror()
    return _NGINX % {"archive": mirror.archive, "security": mirror.security}

"""A signed apt repository of the lab's packages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import paths
from lab.process import attempt, content_key, run, write

SUITE = "lab"
COMPONENT = "main"
KEY_FILE = "lab.asc"

_SIGNER = "SDLC agents lab mirror"


def publish(folder: Path, debs: Sequence[Path]) -> None:
    """Make *folder* an apt repository of exactly *debs*; one that is so already is left alone.

    `<folder>/lab.asc` is the public key. `deb [signed-by=…] <URL of folder> lab main` reads it.
    """
    with _keyring() as gpg:
        public = run([*gpg, "--armor", "--export", _SIGNER])
        key = content_key(public, *sorted(deb.name for deb in debs))
        finished = folder / "complete"
        if finished.is_file() and finished.read_text() == key:
            return
        shutil.rmtree(folder, ignore_errors=True)
        pool = folder / "pool" / COMPONENT
        pool.mkdir(parents=True)
        for deb in debs:
            # Apt wants <name>_<version>_<architecture>.deb; the cache's name ends in a content key.
            name, version, _ = deb.name.split("_")
            link_or_copy(deb, pool / f"{name}_{version}_amd64.deb")
        _index(folder)
        for output, how in (("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")):
            release = folder / "dists" / SUITE
            command = [*gpg, "--armor", "--digest-algo", "SHA512", "--output"]
            run([*command, str(release / output), how, str(release / "Release")])
        write(folder / KEY_FILE, public)
        write(finished, key)


def link_or_copy(source: Path, target: Path) -> None:
    """Put *source* at *target*, without a second copy where the file system allows it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _index(folder: Path) -> None:
    packages = run(["apt-ftparchive", "packages", "pool"], cwd=folder)
    index = folder / "dists" / SUITE / COMPONENT / "binary-amd64"
    index.mkdir(parents=True)
    (index / "Packages").write_text(packages)
    run(["gzip", "--no-name", "--keep", str(index / "Packages")])
    facts = {
        "Origin": "SDLC agents lab",
        "Label": "SDLC agents lab",
        "Suite": SUITE,
        "Codename": SUITE,
        "Architectures": "amd64",
        "Components": COMPONENT,
        "Description": "Packages for the lab's test hosts under their vendors' names",
    }
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in facts.items()]
    release = run(["apt-ftparchive", *options, "release", f"dists/{SUITE}"], cwd=folder)
    (folder / "dists" / SUITE / "Release").write_text(release)


@contextmanager
def _keyring() -> Iterator[list[str]]:
    """A gpg command whose keyring holds the mirror's key, made when there is none.

    The key rests in the state folder; gpg's home is short-lived and has a short path, since its
    agent's socket must fit into 108 bytes.
    """
    stored = paths.state("mirror-key.asc")
    with tempfile.TemporaryDirectory(prefix="lab-gpg-", dir="/tmp") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--yes", "--quiet", "--no-tty"]
        try:
            if stored.is_file():
                run([*gpg, "--import", str(stored)])
            else:
                usage = ["--passphrase", "", "--quick-generate-key", _SIGNER, "rsa3072", "sign"]
                run([*gpg, *usage, "never"])
                secret = run([*gpg, "--armor", "--export-secret-keys", _SIGNER])
                write(stored, secret, mode=0o600)
            yield gpg
        finally:
            attempt(["gpgconf", "--homedir", home, "--kill", "all"])

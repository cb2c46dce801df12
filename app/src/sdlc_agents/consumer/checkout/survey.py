"""A short survey of a repository for the prompt, from its objects alone: nothing is checked out, nothing is run.

Names and contents are the repository's, so whoever quotes this has to quote it as data. It has at most `CHARACTERS`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import orjson
import structlog

from sdlc_agents.git.command import Git

CHARACTERS = 4000
_GUIDE_CHARACTERS = 900
_SECTION_CHARACTERS = 1200
_LINE_CHARACTERS = 200
_FILE_BYTES = 256 * 1024
_LIST_BYTES = 64 * 1024 * 1024
_PATHS = 1_000_000
_TOP = 40
_COMMANDS = 24
_TARGETS = 12
_ENTRY_POINTS = 5
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_GUIDES = ("CLAUDE.md", "AGENTS.md", "CONTRIBUTING.md")
_USUAL = re.compile(r"^(build|test|tests|check|lint|fmt|format|typecheck|ci|verify|run|start|dev|all|install)\b")
_LANGUAGES = {
    ".bash .sh": "Shell", ".c .h": "C", ".cc .cpp .cxx .hpp .hh": "C++", ".clj": "Clojure", ".cs": "C#",
    ".css .scss": "CSS", ".dart": "Dart", ".ex .exs": "Elixir", ".go": "Go", ".hs": "Haskell", ".html": "HTML",
    ".java": "Java",
    ".js .jsx .mjs .cjs": "JavaScript", ".kt .kts": "Kotlin", ".lua": "Lua", ".m .mm": "Objective-C", ".php": "PHP",
    ".pl .pm": "Perl", ".py .pyi": "Python", ".r": "R", ".rb": "Ruby", ".rs": "Rust", ".scala": "Scala", ".sql": "SQL",
    ".swift": "Swift", ".tf": "Terraform", ".ts .tsx": "TypeScript", ".vue": "Vue", ".yml .yaml": "YAML",
}  # fmt: skip
_PYTHON_TOOLS = ("pytest", "tox", "nox", "mypy", "ruff")
_TABLE = re.compile(r"\s*\[+([^\]#]*)\]")
_AROUND_KEY = " \t\"'"
_QUOTED = re.compile(r"""\s*(["'])(.+?)\1""")
_BY_SUFFIX = {suffix: name for suffixes, name in _LANGUAGES.items() for suffix in suffixes.split()}
_ENTRY = re.compile(
    r"(^|/)(__main__\.py|manage\.py|app\.py|main\.(py|go|rs|c|cc|cpp|ts|js|kt|swift|dart)|index\.(js|ts)|server\.(js|ts)"
    r"|Main\.java|Application\.java|Program\.cs|Dockerfile)$"
)
# What each tool's file says by being there.
_KNOWN = {
    "tox.ini": "tox", "noxfile.py": "nox", "pytest.ini": "pytest", "Cargo.toml": "cargo build; cargo test",
    "go.mod": "go build ./...; go test ./...", "pom.xml": "mvn verify", "mvnw": "./mvnw verify",
    "build.gradle": "gradle build", "build.gradle.kts": "gradle build", "gradlew": "./gradlew build",
    "CMakeLists.txt": "cmake -B build && cmake --build build && ctest --test-dir build", "meson.build": "meson test",
    "Gemfile": "bundle exec rake", "mix.exs": "mix test", "composer.json": "composer test",
    "setup.py": "pip install -e .", "BUILD.bazel": "bazel test //...", "Package.swift": "swift test",
    "pubspec.yaml": "dart test",
}  # fmt: skip

log = structlog.get_logger()


async def survey(git: Git, commit: str) -> str:
    """Languages, layout, entry points, commands and guides of the repository at this commit.

    Empty when there is nothing to tell or it cannot be told: a run does well without.
    """
    try:
        return await _survey(git, commit)
    except Exception:  # whatever a repository makes go wrong here
        log.warning("survey_failed", commit=commit, exc_info=True)
        return ""


async def _survey(git: Git, commit: str) -> str:
    listing = await git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, limit=_LIST_BYTES)
    # Beside everything else: a small repository can list millions.
    top, sections = await asyncio.to_thread(_about, listing)
    wanted = [name for name in ("Makefile", "package.json", "pyproject.toml", "setup.cfg", *_GUIDES) if name in top]
    files = {name: text for name in wanted if (text := await _read(git, commit, name))}
    sections.append(("Build and test", "".join(f"\n  {_line(command)}" for command in commands(top, files))))
    parts = [f"{name}: {clean(text)[:_SECTION_CHARACTERS]}" for name, text in sections if text]
    for guide in _GUIDES:
        if guide in files:
            head = files[guide][:_GUIDE_CHARACTERS]
            parts.append(
                f"{guide}{' (its beginning)' if len(head) < len(files[guide]) else ''}:\n{clean(head).strip()}"
            )
    return "\n".join(parts)[:CHARACTERS]


def _about(listing: str) -> tuple[set[str], list[tuple[str, str]]]:
    """The top level's names, and what paths alone tell."""
    paths = [path for path in listing.split("\0", _PATHS)[:_PATHS] if path]
    top = {path for path in paths if "/" not in path}
    return top, [
        ("Languages, by files", languages(paths)),
        ("Top level", _layout(paths)),
        ("Entry points", ", ".join(sorted(filter(_ENTRY.search, paths), key=_depth)[:10])),
    ]


def languages(paths: Iterable[str]) -> str:
    """`Python 80 %, Shell 20 %`, of the files whose language is known by their name."""
    counted = Counter(name for path in paths if (name := _BY_SUFFIX.get(PurePosixPath(path).suffix.lower())))
    total = counted.total()
    return ", ".join(f"{name} {max(1, round(100 * count / total))} %" for name, count in counted.most_common(6))


def commands(top: Iterable[str], files: Mapping[str, str]) -> list[str]:
    """How this is built and tested, going by the files at its top and what those say."""
    found = [f"make {target}" for target in _targets(files.get("Makefile", ""))]
    found += [f"npm run {name}: {text}" for name, text in _scripts(files.get("package.json", ""))]
    found += _python(files.get("pyproject.toml", ""))
    if "[tool:pytest]" in files.get("setup.cfg", ""):
        found.append("pytest")
    found += [command for name, command in _KNOWN.items() if name in set(top)]
    return list(dict.fromkeys(found))[:_COMMANDS]


def clean(text: str) -> str:
    """Without control characters and those that are not seen, but for line ends and tabs."""
    return _CONTROL.sub("", text)


async def _read(git: Git, commit: str, name: str) -> str:
    size = int(await git.run("cat-file", "-s", f"{commit}:{name}"))
    return await git.run("cat-file", "blob", f"{commit}:{name}") if size <= _FILE_BYTES else ""


def _layout(paths: list[str]) -> str:
    counted = Counter(path.partition("/")[0] + ("/" if "/" in path else "") for path in paths)
    names = [f"{name} ({count} files)" if name.endswith("/") else name for name, count in sorted(counted.items())]
    more = f", … {len(names) - _TOP} more" if len(names) > _TOP else ""
    return ", ".join(names[:_TOP]) + more


def _targets(makefile: str) -> list[str]:
    names = re.findall(r"(?m)^([A-Za-z][\w.-]*)\s*:(?![=:])", makefile)
    return sorted(dict.fromkeys(names), key=lambda name: not _USUAL.match(name))[:_TARGETS]


def _scripts(package: str) -> list[tuple[str, str]]:
    try:
        scripts = orjson.loads(package)["scripts"]
        pairs = [(name, text) for name, text in scripts.items() if isinstance(text, str)]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return []
    return sorted(pairs, key=lambda pair: not _USUAL.match(pair[0]))[:_TARGETS]


def _python(pyproject: str) -> list[str]:
    # Not parsed: for some documents that takes time and memory by the square of their size. What only looks like a
    # table, inside a long string, does no harm here.
    tools: set[str] = set()
    scripts: list[str] = []
    table: list[str] = []
    for line in pyproject.splitlines():
        short = line[:_LINE_CHARACTERS]
        if head := _TABLE.match(short):
            table = [part.strip(_AROUND_KEY) for part in head[1].split(".")]
            tools.update(table[1:2] if table[0] == "tool" else ())
        elif table == ["project", "scripts"] and len(scripts) < _ENTRY_POINTS:
            scripts += _entry_point(short)
    return [tool for tool in _PYTHON_TOOLS if tool in tools] + scripts


def _entry_point(line: str) -> list[str]:
    name, _, value = line.partition("=")
    target = _QUOTED.match(value)
    if target is None or name.lstrip().startswith("#"):
        return []
    return [f"script {name.strip(_AROUND_KEY)}: {target[2]}"]


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _line(text: str) -> str:
    return " ".join(text.split())[:_LINE_CHARACTERS]

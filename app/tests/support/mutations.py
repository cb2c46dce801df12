"""Payloads that no Jira sends: mutations of those that it does, of their structure and of their bytes.

Seeded: the same seed makes the same corpus on every machine.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

DEEP = 1_500
_OPERATORS: tuple[Any, ...] = (
    {"$gt": ""},
    {"$ne": None},
    {"$where": "while (true) {}"},
    {"$regex": "(a+)+$"},
    {"$function": {"body": "function () { return true }", "args": [], "lang": "js"}},
    [{"$merge": "projects"}],
)
_TEXTS = (
    "",
    " ",
    "\x00",
    "\x7f\x1b[2J",
    "\u202emirror\u202c",
    "\ufeff",
    "🧪" * 300,
    "../../etc/passwd",
    "$(reboot)",
    "{{ 7 * 7 }}",
    "'; db.dropDatabase(); //",
    "T-1\nX-Injected: yes",
    "In Development",
    "x" * 200_000,
)
_NUMBERS = (0, -1, 2**53, 2**63, -(2**63), 1e308, -0.0, 0.1)
_OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None] * 1_000,
    {"": ""},
    {"__proto__": {}},
    {"key": "value"},
)

Mutation = Callable[[random.Random, Any], Any]


def corpus(seed: int, count: int, bases: Sequence[bytes]) -> Iterator[bytes]:
    """`count` bodies, each made from one of `bases` (JSON documents)."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, no secret
    documents = [orjson.loads(base) for base in bases]
    for _ in range(count):
        document = copy.deepcopy(chance.choice(documents))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            document = chance.choice(_STRUCTURE)(chance, document)
        body = _encode(document)
        if chance.random() < 0.3:
            for _ in range(chance.choice((1, 2, 16))):
                body = chance.choice(_BYTES)(chance, body)
        yield body


def nested(depth: int, opening: bytes = b'{"a":', closing: bytes = b"}", inner: bytes = b"1") -> bytes:
    """A document of this many levels."""
    return opening * depth + inner + closing * depth


def _encode(document: Any) -> bytes:
    try:
        return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers past 64 bits, and nesting that orjson does not write
        return repr(document).encode("utf-8", "surrogatepass")


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    found: list[tuple[Any, Any]] = []
    open_ones = [document]
    while open_ones:
        container = open_ones.pop()
        keys = container.keys() if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                open_ones.append(container[key])
    return found


def _at_a_place(change: Callable[[random.Random, Any, Any], None]) -> Mutation:
    def mutation(chance: random.Random, document: Any) -> Any:
        places = _places(document) if isinstance(document, dict | list) else []
        if places:
            change(chance, *chance.choice(places))
        return document

    return mutation


def _value(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(chance.choice((_OPERATORS, _TEXTS, _NUMBERS, _OTHERS))))


def _replace(chance: random.Random, container: Any, key: Any) -> None:
    container[key] = _value(chance)


def _remove(_chance: random.Random, container: Any, key: Any) -> None:
    del container[key]


def _add(chance: random.Random, container: Any, _key: Any) -> None:
    if isinstance(container, dict):
        container[chance.choice(("$set", "a.b", "", "_id", "issue", "fields", "\x00", "é", "constructor"))] = _value(
            chance
        )
    else:
        container.append(_value(chance))


def _wrap(chance: random.Random, container: Any, key: Any) -> None:
    container[key] = chance.choice(({"value": container[key]}, [container[key]], {"$eq": container[key]}))


def _deepen(chance: random.Random, container: Any, key: Any) -> None:
    for _ in range(chance.choice((3, 50, 200))):
        container[key] = [container[key]]


def _swap_case(_chance: random.Random, container: Any, key: Any) -> None:
    if isinstance(container[key], str):
        container[key] = container[key].swapcase()


def _other_root(chance: random.Random, document: Any) -> Any:
    return chance.choice(([document], _value(chance), {"payload": document}, document))


_STRUCTURE: tuple[Mutation, ...] = (
    *(_at_a_place(change) for change in (_replace, _replace, _remove, _add, _wrap, _deepen, _swap_case)),
    _other_root,
)


def _flip(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


def _insert(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    added = chance.choice(
        (b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"NaN", b"Infinity", b"\xef\xbb\xbf", b"}", b'"')
    )
    return body[:at] + added + body[at:]


def _repeat(chance: random.Random, body: bytes) -> bytes:
    begin = chance.randrange(len(body) + 1)
    piece = body[begin : begin + chance.randrange(1, 400)]
    return body[:begin] + piece * chance.choice((2, 5, 50)) + body[begin:]


def _bury(chance: random.Random, body: bytes) -> bytes:
    return nested(DEEP, inner=body) if chance.random() < 0.5 else nested(DEEP, b"[", b"]", body)


_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (_flip, _truncate, _insert, _repeat, _bury)

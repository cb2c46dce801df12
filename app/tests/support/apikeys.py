"""API keys of the tests' own."""

from collections.abc import Awaitable, Callable

MakeKey = Callable[..., Awaitable[str]]
"""`await make_key("read", …)`: the type of the fixture."""

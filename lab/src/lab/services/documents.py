"""The type of decoded JSON."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A JSON document that came from outside: its shape is checked where it is read, not by types."""

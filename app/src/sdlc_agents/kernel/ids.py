"""Identifiers of documents: 24 hexadecimal digits that sort by the time they were made, mostly kept as strings."""

from bson import ObjectId


def new_object_id() -> ObjectId:
    """A new identifier as MongoDB's own type, for documents that clients never name."""
    return ObjectId()


def new_id() -> str:
    """A new identifier (an ObjectId's digits: they begin with the second, and grow within a process)."""
    return str(ObjectId())

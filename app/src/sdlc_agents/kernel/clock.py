"""The time as the documents keep it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time: UTC, aware, in whole milliseconds (BSON keeps no more, so nothing changes on a round trip)."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

"""The body that Alertmanager posts to a webhook, after `webhook_config` in Prometheus' documentation."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from lab.services.documents import Json

_FIELDS: Mapping[str, type] = {
    "version": str,
    "groupKey": str,
    "truncatedAlerts": int,
    "status": str,
    "receiver": str,
    "groupLabels": dict,
    "commonLabels": dict,
    "commonAnnotations": dict,
    "externalURL": str,
    "alerts": list,
}
_OPTIONAL = {"notificationReason"}
_ALERT_FIELDS: Mapping[str, type] = {
    "status": str,
    "labels": dict,
    "annotations": dict,
    "startsAt": str,
    "endsAt": str,
    "generatorURL": str,
    "fingerprint": str,
}
_STATUSES = {"firing", "resolved"}
_FINGERPRINT = re.compile(r"[0-9a-f]{16}\Z")
_FRACTION = re.compile(r"\.(\d{6})\d+")


class ShapeError(Exception):
    """The body is not what Alertmanager sends."""


def _fields(document: Json, expected: Mapping[str, type], where: str, optional: set[str]) -> None:
    if not isinstance(document, dict):
        raise ShapeError(f"{where} must be an object")
    missing, unknown = expected.keys() - document.keys(), document.keys() - expected.keys() - optional
    if missing or unknown:
        raise ShapeError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    for name, kind in expected.items():
        if not isinstance(document[name], kind) or isinstance(document[name], bool):
            raise ShapeError(f"{where}.{name} must be {kind.__name__}")


def _strings(document: Mapping[Json, Json], where: str) -> None:
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ShapeError(f"{where} must map names to strings")


def _moment(text: str, where: str) -> None:
    try:
        # Go prints nanoseconds, Python reads microseconds.
        moment = datetime.datetime.fromisoformat(_FRACTION.sub(r".\1", text))
    except ValueError as error:
        raise ShapeError(f"{where} is not RFC 3339") from error
    if moment.tzinfo is None:
        raise ShapeError(f"{where} has no zone")


def check(document: Json) -> None:
    """Raise ShapeError unless `document` is a webhook of Alertmanager, version 4."""
    _fields(document, _FIELDS, "body", _OPTIONAL)
    if document["version"] != "4":
        raise ShapeError("version must be 4")
    if document["status"] not in _STATUSES:
        raise ShapeError("status must be firing or resolved")
    for name in ("groupLabels", "commonLabels", "commonAnnotations"):
        _strings(document[name], name)
    if not document["alerts"]:
        raise ShapeError("alerts must not be empty")
    for index, alert in enumerate(document["alerts"]):
        where = f"alerts.{index}"
        _fields(alert, _ALERT_FIELDS, where, set())
        if alert["status"] not in _STATUSES:
            raise ShapeError(f"{where}.status must be firing or resolved")
        _strings(alert["labels"], f"{where}.labels")
        _strings(alert["annotations"], f"{where}.annotations")
        if not alert["labels"].get("alertname"):
            raise ShapeError(f"{where}.labels has no alertname")
        _moment(alert["startsAt"], f"{where}.startsAt")
        _moment(alert["endsAt"], f"{where}.endsAt")
        if not _FINGERPRINT.match(alert["fingerprint"]):
            raise ShapeError(f"{where}.fingerprint must be 16 hexadecimal digits")
    firing = any(alert["status"] == "firing" for alert in document["alerts"])
    if firing != (document["status"] == "firing"):
        raise ShapeError("status contradicts the alerts")

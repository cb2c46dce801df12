"""From a MongoDB status document to samples: every number in it, under Percona's names.

`{"serverStatus": {"opcounters": {"insert": 4}}}` becomes `mongodb_ss_opcounters{legacy_op_type="insert"} 4`: the path
of keys is the name, a few leading paths are shortened, and under some paths the last key is a label's value instead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from bson.int64 import Int64

Labels = Mapping[str, str]

_SHORTER = (
    ("serverStatus.wiredTiger.transaction", "ss_wt_txn"),
    ("serverStatus.wiredTiger", "ss_wt"),
    ("serverStatus", "ss"),
    ("replSetGetStatus", "rs"),
    ("local.oplog.rs.stats.wiredTiger", "oplog_stats_wt"),
    ("local.oplog.rs.stats", "oplog_stats"),
)

# Under these paths a number's key is the value of this label.
_LABEL_OF_NUMBERS = {
    "serverStatus.asserts": "assert_type",
    "serverStatus.connections": "conn_type",
    "serverStatus.globalLock.currentQueue": "count_type",
    "serverStatus.metrics.commands": "cmd_name",
    "serverStatus.metrics.cursor.open": "csr_type",
    "serverStatus.metrics.document": "doc_op_type",
    "serverStatus.opReadConcernCounters": "concern_type",
    "serverStatus.opcounters": "legacy_op_type",
    "serverStatus.opcountersRepl": "legacy_op_type",
    "serverStatus.wiredTiger.perf": "perf_bucket",
}

# Under these paths a document's key is.
_LABEL_OF_DOCUMENTS = {
    "serverStatus.opLatencies": "op_type",
    "serverStatus.wiredTiger.concurrentTransactions": "txn_rw",
}

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9]+")


class Sample(NamedTuple):
    """One number of a metric."""

    name: str
    labels: Labels
    value: float


def samples(path: str, document: Mapping[str, object], labels: Labels) -> Iterator[Sample]:
    """All numbers in `document`, which stands at `path` (keys with dots between them); each carries `labels`.

    Truth values are 0 and 1, dates milliseconds since 1970. Texts, identifiers and lists of plain values are left out;
    a list of documents that have a name (the members of a replica set) gets it as label `member_idx`.
    """
    for key, value in document.items():
        if isinstance(value, Mapping):
            label = _LABEL_OF_DOCUMENTS.get(path)
            if label is None:
                yield from samples(f"{path}.{key}", value, labels)
            else:
                yield from samples(path, value, {**labels, label: key})
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            yield from _of_named_documents(f"{path}.{key}", value, labels)
        else:
            number = _number(value)
            if number is None:
                continue
            label = _LABEL_OF_NUMBERS.get(path)
            if label is None:
                yield Sample(metric_name(f"{path}.{key}"), labels, number)
            else:
                yield Sample(metric_name(path), {**labels, label: key}, number)


def metric_name(path: str) -> str:
    """The metric's name for a path of keys."""
    for long, short in _SHORTER:
        if path == long or path.startswith(f"{long}."):
            path = short + path[len(long) :]
            break
    return "mongodb_" + _NOT_IN_A_NAME.sub("_", path).strip("_")


def _of_named_documents(path: str, items: Sequence[object], labels: Labels) -> Iterator[Sample]:
    for item in items:
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            member = {"member_idx": item["name"]}
            if isinstance(item.get("stateStr"), str):
                member["member_state"] = item["stateStr"]
            yield from samples(path, item, {**labels, **member})


def _number(value: object) -> float | None:
    if isinstance(value, bool | int | float | Int64):
        return float(value)
    if isinstance(value, datetime):
        return value.timestamp() * 1000
    return None

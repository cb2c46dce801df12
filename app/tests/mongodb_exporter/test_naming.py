"""Status documents become samples under the names that Percona's mongodb_exporter gives them."""

import re
from datetime import UTC, datetime

import pytest
from bson import Int64, ObjectId, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlc_agents.mongodb_exporter.naming import Sample, metric_name, samples


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("serverStatus.uptime", "mongodb_ss_uptime"),
        ("serverStatus.mem.resident", "mongodb_ss_mem_resident"),
        ("serverStatus.extra_info.page_faults", "mongodb_ss_extra_info_page_faults"),
        (
            "serverStatus.wiredTiger.cache.bytes currently in the cache",
            "mongodb_ss_wt_cache_bytes_currently_in_the_cache",
        ),
        (
            "serverStatus.wiredTiger.transaction.transaction checkpoint total time (msecs)",
            "mongodb_ss_wt_txn_transaction_checkpoint_total_time_msecs",
        ),
        ("serverStatus.metrics.repl.network.bytes", "mongodb_ss_metrics_repl_network_bytes"),
        ("replSetGetStatus.myState", "mongodb_rs_myState"),
        ("replSetGetStatus.members._id", "mongodb_rs_members_id"),
        ("local.oplog.rs.stats.maxSize", "mongodb_oplog_stats_maxSize"),
        ("dbstats.dataSize", "mongodb_dbstats_dataSize"),
        ("top.readLock.time", "mongodb_top_readLock_time"),
    ],
)
def test_a_path_has_perconas_name(path: str, name: str) -> None:
    assert metric_name(path) == name


@pytest.mark.parametrize(
    ("section", "document", "expected"),
    [
        ("opcounters", {"insert": 4}, Sample("mongodb_ss_opcounters", {"legacy_op_type": "insert"}, 4.0)),
        ("connections", {"current": 7}, Sample("mongodb_ss_connections", {"conn_type": "current"}, 7.0)),
        ("asserts", {"user": 1}, Sample("mongodb_ss_asserts", {"assert_type": "user"}, 1.0)),
        (
            "metrics",
            {"document": {"returned": 9}},
            Sample("mongodb_ss_metrics_document", {"doc_op_type": "returned"}, 9.0),
        ),
        (
            "metrics",
            {"commands": {"find": {"total": Int64(3)}}},
            Sample("mongodb_ss_metrics_commands_find_total", {}, 3.0),
        ),
        (
            "opLatencies",
            {"reads": {"latency": Int64(250)}},
            Sample("mongodb_ss_opLatencies_latency", {"op_type": "reads"}, 250.0),
        ),
        (
            "wiredTiger",
            {"concurrentTransactions": {"write": {"available": 128}}},
            Sample("mongodb_ss_wt_concurrentTransactions_available", {"txn_rw": "write"}, 128.0),
        ),
    ],
)
def test_some_keys_are_labels(section: str, document: dict[str, object], expected: Sample) -> None:
    assert list(samples("serverStatus", {section: document}, {})) == [expected]


def test_members_of_a_replica_set_are_told_apart_by_name_and_state() -> None:
    status = {
        "members": [
            {"name": "a:27017", "stateStr": "PRIMARY", "health": 1.0},
            {"name": "b:27017", "stateStr": "SECONDARY", "health": 0.0},
        ]
    }

    assert list(samples("replSetGetStatus", status, {"set": "rs0"})) == [
        Sample("mongodb_rs_members_health", {"set": "rs0", "member_idx": "a:27017", "member_state": "PRIMARY"}, 1.0),
        Sample("mongodb_rs_members_health", {"set": "rs0", "member_idx": "b:27017", "member_state": "SECONDARY"}, 0.0),
    ]


def test_truth_is_a_number_and_dates_are_milliseconds() -> None:
    document = {"active": True, "idle": False, "date": datetime(2026, 1, 1, tzinfo=UTC)}

    assert [sample.value for sample in samples("x", document, {})] == [1.0, 0.0, 1767225600000.0]


def test_what_is_no_number_is_left_out() -> None:
    document = {"host": "a", "id": ObjectId(), "at": Timestamp(1, 1), "raw": b"x", "list": [1, 2], "none": None}

    assert list(samples("x", document, {})) == []


_values = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.none(), st.binary()),
    lambda children: st.one_of(st.lists(children), st.dictionaries(st.text(), children)),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), _values))
def test_any_document_gives_names_that_prometheus_takes(document: dict[str, object]) -> None:
    for sample in samples("serverStatus", document, {}):
        assert re.fullmatch(r"mongodb_[a-zA-Z0-9_]+", sample.name)
        assert isinstance(sample.value, float)

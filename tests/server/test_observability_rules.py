"""Rules and dashboards: only metrics that exist, rules that fire when they should and only then."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from mts1b_deploy.observability import DASHBOARDS, RULES, render
from mts1b_foundation.subjects import registry
from mts1b_platform.observability.names import METRICS

ROOT = Path(__file__).parents[2]
KNOWN = {series for metric in METRICS for series in metric.series} | {"up"}
LABELS = {label for metric in METRICS for label in metric.labels} | {"le", "job", "service", "instance"}
DASHBOARD_QUERIES = [
    pytest.param(query["expr"], query["legendFormat"], id=f"{dashboard.uid}/{panel['title']}/{query['refId']}")
    for dashboard in DASHBOARDS
    for panel in dashboard.document()["panels"]
    for query in panel["targets"]
]

ORDERS = 'subject="mts.v1.oms.orders.created", repo="mts1b-oms"'
CASES: dict[str, tuple[str, str, str]] = {
    # alert: series, values that fire it by the tenth minute, values that do not
    "MTS1BSlowConsumer": ('nats_consumer_lag_seconds{stream="S", consumer="c"}', "0x39 31x10", "0x39 30x10"),
    "MTS1BDiscardRisk": ('nats_consumer_discard_risk_ratio{stream="S", consumer="c"}', "0.75x60", "0.7x60"),
    "MTS1BDiscardImminent": ('nats_consumer_discard_risk_ratio{stream="S", consumer="c"}', "0.95x60", "0.9x60"),
    "MTS1BDeadLetters": ("nats_deadletters_recent", "1x60", "0x60"),
    "MTS1BSchemaMismatch": (f"nats_consume_schema_mismatch_total{{{ORDERS}}}", "0x35 1x10", "1x60"),
    "MTS1BStoreAway": ('nats_consume_store_away{reader="books", repo="mts1b-treasury"}', "1x60", "0x60"),
    "MTS1BStoreHeld": ('nats_consume_store_held{reader="books", repo="mts1b-treasury"}', "1x60", "0x60"),
    "MTS1BHeldUp": ('nats_consumer_held_up_seconds{stream="S", consumer="c"}', "61x60", "60x60"),
    "MTS1BHandlersFail": (f"nats_consume_errors_total{{{ORDERS}}}", "0+6x60", "0+4x60"),
    "MTS1BStreamMissing": ('nats_stream_missing{stream="S"}', "1x60", "0x60"),
    "MTS1BRolledBack": ("nats_streams_rolled_back_events", "3x60", "0x60"),
    "MTS1BConsumerMissing": ('nats_consumer_missing{stream="S", consumer="c"}', "1x60", "0x60"),
    "MTS1BSourceSilent": ('nats_stream_source_silent_seconds{stream="S", site="gw1"}', "16x60", "14x60"),
    "MTS1BNobodyActive": ('nats_consumer_nobody_active{stream="S", consumer="c"}', "1x60", "0x60"),
    "MTS1BTakeoversFlap": (f"nats_consume_takeovers_total{{{ORDERS}}}", "0+1x60", "1x60"),
    "MTS1BServerDoesNotStore": ("nats_probe_ok", "1x30 0x20", "1x60"),
    "MTS1BMonitorMissing": ("nats_probe_ok", "1x5 stale _x50", "1x60"),
    "MTS1BMonitorBlind": ("nats_monitor_poll_seconds", "1x5 stale _x50", "0.1x60"),
    "MTS1BServiceDown": ('up{job="mts1b", service="mts1b-oms", instance="i"}', "1x30 0x20", "1x60"),
    "MTS1BDisconnected": ('nats_connected{repo="mts1b-oms"}', "1x30 0x20", "1x60"),
    "MTS1BPublishFails": (f"nats_publish_errors_total{{{ORDERS}}}", "0x35 1x10", "1x60"),
    "MTS1BPublishSlow": ('nats_publish_ack_seconds_bucket{repo="mts1b-oms", le="1.0"}', "0+5x60", "0+10x60"),
    "MTS1BQuotesDropped": (f"nats_publish_dropped_total{{{ORDERS}}}", "0+1x60", "5x60"),
    "MTS1BSlowListener": (f"nats_slow_consumer_drops_total{{{ORDERS}}}", "0+1x60", "5x60"),
    "MTS1BCertificateExpires": ('nats_certificate_expiry_seconds{path="p"}', "518400x60", "604800x60"),
    "MTS1BCertificateExpiresSoon": ('nats_certificate_expiry_seconds{path="p"}', "172800x60", "259200x60"),
    "MTS1BDiskLow": ('nats_disk_free_ratio{path="p"}', "0.09x60", "0.1x60"),
    "MTS1BDiskAlmostFull": ('nats_disk_free_ratio{path="p"}', "0.03x60", "0.05x60"),
    "MTS1BDiskFills": ('nats_disk_full_seconds{path="p"}', "80000x60", "90000x60"),
    "MTS1BDiskFull": ('nats_disk_full_seconds{path="p"}', "14000x60", "14400x60"),
    "MTS1BArchiveBehind": ('nats_archive_left_seconds{stream="S"}', "60000x60", "64800x60"),
    "MTS1BArchiveTooLate": ('nats_archive_left_seconds{stream="S"}', "20000x60", "21600x60"),
    "MTS1BArchiveNotRun": ('nats_archive_age_seconds{path="p"}', "93601x60", "93600x60"),
    "MTS1BAuditFails": ('nats_audit_failures_total{repo="mts1b-oms"}', "0x35 1x10", "1x60"),
}
BESIDE: dict[str, list[dict[str, str]]] = {
    # what else must be there for the rule to have a meaning
    "MTS1BHandlersFail": [{"series": f"nats_consume_total{{{ORDERS}}}", "values": "0+100x60"}],
    "MTS1BMonitorBlind": [{"series": "nats_probe_ok", "values": "1x60"}],
    "MTS1BPublishSlow": [
        {"series": 'nats_publish_ack_seconds_bucket{repo="mts1b-oms", le="2.5"}', "values": "0+10x60"},
        {"series": 'nats_publish_ack_seconds_bucket{repo="mts1b-oms", le="+Inf"}', "values": "0+10x60"},
    ],
}
RUNBOOK = "https://github.com/mts1b/mts1b/blob/main/docs/runbook.md#"
INTERVAL = 15


@pytest.fixture(scope="session")
def promtool() -> Path:
    script = ROOT / "scripts" / "get-prometheus.sh"
    done = subprocess.run([str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()) / "promtool"


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    render(tmp_path, targets=tmp_path / "targets")
    return tmp_path


def tool(promtool: Path, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unknown_names(expr: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', "", expr)
    words = set(re.findall(r"\b(?:nats|mts|mts1b)_[a-z_0-9]+|\bup\b", bare))
    assert words, f"no metric in {expr}"
    return words - KNOWN


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_names_only_metrics_that_exist(rule: Any):
    assert unknown_names(rule.expr) == set()
    assert set(re.findall(r"\$labels\.(\w+)", rule.summary)) <= LABELS


@pytest.mark.parametrize(("expr", "legend"), DASHBOARD_QUERIES)
def test_a_dashboard_names_only_metrics_and_labels_and_subjects_that_exist(expr: str, legend: str):
    assert unknown_names(expr) == set()
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= LABELS
    for subject in re.findall(r'subject="([^"]*)"', expr):
        assert registry()[subject]


def test_a_name_that_does_not_exist_is_noticed():
    assert unknown_names("rate(nats_publish_totl[5m])") == {"nats_publish_totl"}


def test_every_metric_is_on_a_dashboard_or_in_a_rule():
    text = json.dumps([dashboard.document() for dashboard in DASHBOARDS]) + " ".join(rule.expr for rule in RULES)
    assert [metric.name for metric in METRICS if metric.name not in text] == []


def test_promtool_accepts_rules_and_configuration(promtool: Path, rendered: Path):
    (rendered / "targets").mkdir()
    assert f"{len(RULES)} rules found" in tool(promtool, "check", "rules", rendered / "prometheus/rules/mts1b.yml")
    assert "SUCCESS" in tool(promtool, "check", "config", rendered / "prometheus/prometheus.yml")


@pytest.mark.parametrize(("expr", "legend"), DASHBOARD_QUERIES)
def test_prometheus_understands_every_query(promtool: Path, tmp_path: Path, expr: str, legend: str):
    rules = {"groups": [{"name": legend or "g", "rules": [{"record": "checked", "expr": expr}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    tool(promtool, "check", "rules", tmp_path / "rules.yml")


def fired(rule: Any, series: str) -> dict[str, Any]:
    labels = dict(re.findall(r'(\w+)="([^"]*)"', series))
    labels.pop("le", None)
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], rule.summary)
    if rule.name in ("MTS1BMonitorMissing", "MTS1BMonitorBlind"):
        labels = {}
    return {
        "exp_labels": {"severity": rule.severity, **labels},
        "exp_annotations": {"summary": summary, "action": rule.action, "runbook_url": RUNBOOK + rule.runbook},
    }


def unit_test(rule: Any, series: str, values: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": f"{INTERVAL}s",
        "input_series": [{"series": series, "values": values}, *BESIDE.get(rule.name, [])],
        "alert_rule_test": [{"eval_time": "10m", "alertname": rule.name, "exp_alerts": expected}],
    }


def test_every_rule_fires_when_it_should_and_not_otherwise(promtool: Path, rendered: Path):
    assert {rule.name for rule in RULES} == set(CASES)
    tests = [
        unit_test(rule, series, values, expected)
        for rule in RULES
        for series, bad, good in [CASES[rule.name]]
        for values, expected in ((bad, [fired(rule, series)]), (good, []))
    ]
    document = {"rule_files": ["prometheus/rules/mts1b.yml"], "evaluation_interval": f"{INTERVAL}s", "tests": tests}
    path = rendered / "mts1b.test.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    assert "SUCCESS" in tool(promtool, "test", "rules", path)


def test_rendering_again_touches_nothing(rendered: Path):
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*") if path.is_file()}
    render(rendered, targets=rendered / "targets")
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*") if path.is_file()} == before
    assert len(before) == 8

"""Alerts, dashboards and documentation use only metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.documents import ROOT, table

from movie_adapters.observability.metrics import METRICS

PROMETHEUS = ROOT / "deploy" / "prometheus"
OPERATIONS = "docs/operations.md"
EXPORTED = {
    name
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind == "histogram"
        else [metric.name]
    )
}
LABELS = {label for metric in METRICS for label in metric.labels} | {"le", "job", "instance", "process"}
"""Includes the labels of Prometheus itself, and `process`, which distinguishes the processes of one server."""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> list[Path]:
    return list((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def expressions() -> list[str]:
    queries = [
        target["expr"]
        for path in dashboards()
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]
    return [rule["expr"] for rule in rules()] + queries


@pytest.mark.parametrize("expression", expressions())
def test_alerts_and_dashboards_query_only_exported_metrics(expression: str) -> None:
    names = set(re.findall(r"\b(?:movie|process)_\w+", re.sub(r'"[^"]*"', "", expression)))
    assert names <= EXPORTED
    assert names or "up{" in expression
    filtered = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    grouped = [label.strip() for part in re.findall(r"\bby \(([^)]*)\)", expression) for label in part.split(",")]
    assert {*filtered, *grouped} <= LABELS


def test_panels_do_not_overlap_and_use_the_provisioned_data_source() -> None:
    grafana = ROOT / "deploy" / "grafana"
    sources = yaml.safe_load((grafana / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for path in dashboards():
        panels = json.loads(path.read_text())["panels"]
        places = [
            (x, y)
            for at in (panel["gridPos"] for panel in panels)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(places) == len(set(places))
        assert max(x for x, _ in places) < 24
        used = {target["datasource"]["uid"] for panel in panels for target in (panel, *panel["targets"])}
        assert used == {source["uid"] for source in sources}


def test_every_application_metric_is_on_a_dashboard() -> None:
    shown = " ".join(path.read_text() for path in dashboards())
    omitted = {"movie_circuit_breaker_state_seconds"}
    assert {
        metric.name for metric in METRICS if metric.name.startswith("movie_") and metric.name not in shown
    } == omitted


def test_every_alert_has_severity_summary_action_and_runbook() -> None:
    headings = {line.lower() for line in re.findall(r"^### (\w+)$", (ROOT / OPERATIONS).read_text(), re.MULTILINE)}
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        annotations = rule["annotations"]
        assert annotations.keys() == {"summary", "action", "runbook"}, rule["alert"]
        assert annotations["runbook"] == f"{OPERATIONS}#{rule['alert'].lower()}"
        assert rule["alert"].lower() in headings


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules()}


def test_documented_metrics_equal_those_in_the_code() -> None:
    documented = [[cell.replace("`", "") for cell in row] for row in table(OPERATIONS, "metric")]
    assert documented == [
        [metric.name, metric.kind, ", ".join(metric.labels), metric.meaning.replace("`", "")] for metric in METRICS
    ]

"""What operators are given fits what processes tell: alerts, dashboard and docs name only metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_docs import ROOT, table

from movie_adapters.observability.metrics import METRICS

PROMETHEUS = ROOT / "deploy" / "prometheus"
OPERATIONS = "docs/operations.md"
TOLD = {
    name
    for one in METRICS
    for name in (
        [f"{one.name}_{part}" for part in ("bucket", "sum", "count")] if one.kind == "histogram" else [one.name]
    )
}
LABELS = {label for one in METRICS for label in one.labels} | {"le", "job", "instance", "process"}
"""Those of Prometheus itself too, and the one that tells processes of one server apart."""


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
def test_alerts_and_dashboard_ask_only_for_what_is_told(expression: str) -> None:
    names = set(re.findall(r"\b(?:movie|process)_\w+", re.sub(r'"[^"]*"', "", expression)))
    assert names <= TOLD
    assert names or "up{" in expression
    asked = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    grouped = [label.strip() for part in re.findall(r"\bby \(([^)]*)\)", expression) for label in part.split(",")]
    assert {*asked, *grouped} <= LABELS


def test_no_panel_lies_over_another_and_all_ask_the_source_that_is_provisioned() -> None:
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
        asked = {target["datasource"]["uid"] for panel in panels for target in (panel, *panel["targets"])}
        assert asked == {source["uid"] for source in sources}


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = " ".join(path.read_text() for path in dashboards())
    left_out = {"movie_circuit_breaker_state_seconds"}
    assert {one.name for one in METRICS if one.name.startswith("movie_") and one.name not in shown} == left_out


def test_every_alert_says_what_is_wrong_what_to_do_and_where_more_is_told() -> None:
    headings = {line.lower() for line in re.findall(r"^### (\w+)$", (ROOT / OPERATIONS).read_text(), re.MULTILINE)}
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        told = rule["annotations"]
        assert told.keys() == {"summary", "action", "runbook"}, rule["alert"]
        assert told["runbook"] == f"{OPERATIONS}#{rule['alert'].lower()}"
        assert rule["alert"].lower() in headings


def test_every_alert_has_a_test_of_its_own() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules()}


def test_the_metrics_are_those_of_the_code() -> None:
    told = [[cell.replace("`", "") for cell in row] for row in table(OPERATIONS, "metric")]
    assert told == [[one.name, one.kind, ", ".join(one.labels), one.meaning.replace("`", "")] for one in METRICS]

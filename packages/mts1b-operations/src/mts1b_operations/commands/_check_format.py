"""The outcome of a check as Nagios, Prometheus' textfile collector, and programs read it."""

import json
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from mts1b_operations.checks import Checked, State, worst


def nagios(name: str, unit: str, found: Sequence[Checked]) -> str:
    """``STATE name: what is wrong | performance data``."""
    state = worst(found)
    bad = [checked.reading.detail for checked in found if checked.state is not State.OK]
    said = "; ".join(bad) if bad else f"{len(found)} checked"
    data = " ".join(f"'{checked.reading.target}'={_number(checked.reading.value)}{unit}" for checked in found)
    return f"{state.name} {name}: {said.replace('|', '/')}{' | ' + data if data else ''}\n"


def prometheus(name: str, _unit: str, found: Sequence[Checked]) -> str:
    """Text for the node exporter's textfile collector."""
    registry = CollectorRegistry()
    labels = ["check", "target"]
    value = Gauge("mts1b_check_value", "What the check measured.", labels, registry=registry)
    state = Gauge("mts1b_check_state", "0 fine, 1 warning, 2 critical.", labels, registry=registry)
    for checked in found:
        value.labels(name, checked.reading.target).set(checked.reading.value)
        state.labels(name, checked.reading.target).set(checked.state)
    return generate_latest(registry).decode()


def to_json(name: str, unit: str, found: Sequence[Checked]) -> str:
    """One document."""
    results = [
        {
            "target": checked.reading.target,
            "state": checked.state.name,
            "value": _finite(checked.reading.value),
            "detail": checked.reading.detail,
        }
        for checked in found
    ]
    return json.dumps({"check": name, "state": worst(found).name, "unit": unit, "results": results}, indent=2) + "\n"


def _finite(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else value


def _number(value: float) -> str:
    return "U" if _finite(value) is None else f"{value:g}"

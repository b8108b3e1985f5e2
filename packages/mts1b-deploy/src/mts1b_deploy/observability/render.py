"""Writing it all under one directory.

::

    prometheus/prometheus.yml                      scrapes every service that announces itself
    prometheus/rules/mts1b.yml                     the alert rules
    grafana/dashboards/*.json                      the dashboards
    grafana/provisioning/datasources/mts1b.yml     where Grafana finds Prometheus
    grafana/provisioning/dashboards/mts1b.yml      where Grafana finds the dashboards

Rendering twice writes the same bytes; files that are the same already are not touched.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mts1b_deploy.observability.dashboards import DASHBOARDS
from mts1b_deploy.observability.rules import JOB, RULES, Rule


def render(
    directory: Path,
    *,
    targets: Path,
    scrape_interval: str = "5s",
    prometheus_url: str = "http://127.0.0.1:9090",
    alertmanagers: tuple[str, ...] = (),
    rules: Sequence[Rule] = RULES,
) -> list[Path]:
    """Write the files and return them all, those that were the same already included.

    Args:
        directory: where they go; made when it is not there.
        targets: the directory in which services announce themselves: their setting ``metrics_dir``.
        scrape_interval: how often Prometheus asks, and judges the rules.
        prometheus_url: where Grafana finds Prometheus.
        alertmanagers: ``host:port`` of each Alertmanager that Prometheus tells.
        rules: the alerts.

    Raises:
        OSError: the directory cannot be written to.
    """
    files = {
        "prometheus/prometheus.yml": _yaml(_scraping(targets, scrape_interval, alertmanagers)),
        "prometheus/rules/mts1b.yml": _yaml(
            {"groups": [{"name": "mts1b", "rules": [rule.document() for rule in rules]}]}
        ),
        "grafana/provisioning/datasources/mts1b.yml": _yaml(_source(prometheus_url)),
        "grafana/provisioning/dashboards/mts1b.yml": _yaml(_provider(directory / "grafana/dashboards")),
        **{
            f"grafana/dashboards/{dashboard.uid}.json": json.dumps(dashboard.document(), indent=2) + "\n"
            for dashboard in DASHBOARDS
        },
    }
    return [_write(directory / name, text) for name, text in files.items()]


def _scraping(targets: Path, interval: str, alertmanagers: tuple[str, ...]) -> dict[str, Any]:
    alerting = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules/*.yml"],
        **({"alerting": alerting} if alertmanagers else {}),
        "scrape_configs": [
            {
                "job_name": JOB,
                "file_sd_configs": [{"files": [str(targets.absolute() / "*.json")], "refresh_interval": interval}],
            }
        ],
    }


def _source(url: str) -> dict[str, Any]:
    source = {"name": "MTS1B", "uid": "mts1b", "type": "prometheus", "access": "proxy", "url": url, "isDefault": True}
    return {"apiVersion": 1, "datasources": [source]}


def _provider(dashboards: Path) -> dict[str, Any]:
    provider = {"name": "MTS1B", "folder": "MTS1B", "type": "file", "options": {"path": str(dashboards.absolute())}}
    return {"apiVersion": 1, "providers": [provider]}


def _yaml(document: dict[str, Any]) -> str:
    return "# rendered by mts1b-deploy; change the sources, not this file\n" + yaml.safe_dump(
        document, sort_keys=False, width=120
    )


def _write(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path

"""Ready-made Prometheus and Grafana: scraping, alert rules, dashboards, from the names that the code uses."""

from mts1b_deploy.observability.dashboards import DASHBOARDS, Dashboard
from mts1b_deploy.observability.render import render
from mts1b_deploy.observability.rules import RULES, Rule, slow_consumer

__all__ = ["DASHBOARDS", "RULES", "Dashboard", "Rule", "render", "slow_consumer"]

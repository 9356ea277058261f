"""Dashboards and alert rules of Penstock as code: `python -m dashboards.builder` writes them, `--check` refuses stale ones.

Each dashboard is one module with a list of [`Panel`][panels]; `settings.toml` has what no metric says. Deliberately absent:
anything that talks to a running Prometheus or Grafana (see `dashboards/verify`).
"""

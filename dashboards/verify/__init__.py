"""Asks a real Prometheus, which scrapes a real gateway under load, for the data of every panel: `python -m dashboards.verify`.

Python's standard library only, so that it runs in any environment. Deliberately absent: Grafana, which evaluates the same queries
with the same variables, but is not started here.
"""

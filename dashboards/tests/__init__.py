"""Tests of the builder and of the check against Prometheus: `python -m unittest discover --start-directory dashboards/tests --top-level-directory .`."""

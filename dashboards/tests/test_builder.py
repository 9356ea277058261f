"""What is generated is complete, and what cannot be right is refused."""

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from dashboards.builder import __main__ as builder
from dashboards.builder import alerts, catalogue, objectives, settings
from dashboards.builder.panels import Query

METRICS = catalogue.read(builder.CATALOGUE)


def read(text: str) -> settings.Settings:
    """Settings from this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return settings.read(path, METRICS.latency_bounds)


class Generated(unittest.TestCase):
    def setUp(self) -> None:
        self.files = builder.generate()
        self.pages = [json.loads(text) for path, text in self.files.items() if path.suffix == ".json"]

    def test_there_are_five_dashboards(self) -> None:
        titles = {page["title"].split(" / ")[1] for page in self.pages}
        self.assertEqual(titles, {"Cost", "Serving", "Optimizer", "Lambda", "Jobs"})

    def test_every_panel_has_question_unit_and_run_book_link(self) -> None:
        for page in self.pages:
            for panel in (each for each in page["panels"] if each["type"] != "row"):
                with self.subTest(f"{page['title']}: {panel['title']}"):
                    self.assertIn("?", panel["description"])
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    self.assertRegex(panel["links"][0]["url"], r"/runbook\.md#penstock\w+$")
                    self.assertTrue(panel["targets"])

    def test_panels_do_not_overlap(self) -> None:
        for page in self.pages:
            taken: set[tuple[int, int]] = set()
            for panel in page["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & taken, f"{page['title']}: {panel['title']}")
                self.assertLessEqual(at["x"] + at["w"], 24)
                taken |= cells

    def test_ids_are_unique(self) -> None:
        for page in self.pages:
            ids = [panel["id"] for panel in page["panels"]]
            self.assertEqual(len(ids), len(set(ids)))

    def test_nothing_is_wrong_now(self) -> None:
        self.assertEqual(builder.problems(self.files), [])

    def test_a_changed_file_is_stale(self) -> None:
        self.assertEqual(builder.stale(self.files), [])
        path = next(iter(self.files))
        self.assertEqual(len(builder.stale({**self.files, path: "changed"})), 1)

    def test_a_section_that_the_run_book_lacks_is_named(self) -> None:
        lost = replace(alerts.ALERTS[0], name="PenstockUnheardOf")
        with mock.patch.object(alerts, "ALERTS", (*alerts.ALERTS, lost)):
            self.assertIn("docs/runbook.md has no section `## PenstockUnheardOf`", builder.problems(builder.generate()))

    def test_a_panel_that_queries_an_unknown_metric_is_named(self) -> None:
        page = builder.DASHBOARDS[0]
        row = page.rows[0]
        wrong = replace(row.panels[0], queries=(Query("sum(penstock_requests)", "x"),))
        changed = replace(page, rows=(replace(row, panels=(wrong,)),))
        with mock.patch.object(builder, "DASHBOARDS", (changed, *builder.DASHBOARDS[1:])):
            self.assertTrue(any("no metric `penstock_requests`" in problem for problem in builder.problems(self.files)))


class Queries(unittest.TestCase):
    def problems(self, expression: str) -> list[str]:
        return METRICS.problems(expression, frozenset({"penstock:known"}))

    def test_known_names_pass(self) -> None:
        self.assertEqual(self.problems('sum by (model) (rate(penstock_requests_total{class="5xx",instance="a"}[5m]))'), [])
        self.assertEqual(self.problems("histogram_quantile(0.9, sum by (le, model) (penstock_batch_items_bucket))"), [])

    def test_a_counter_has_no_buckets_and_a_histogram_no_plain_series(self) -> None:
        self.assertEqual(self.problems("penstock_requests_total_bucket"), ["no metric `penstock_requests_total_bucket`"])
        self.assertEqual(self.problems("penstock_batch_items"), ["no metric `penstock_batch_items`"])

    def test_unknown_labels_and_rules_are_named(self) -> None:
        self.assertEqual(self.problems('penstock_queue_items{tenant="a"}'), ["no label `tenant`"])
        self.assertEqual(self.problems("sum by (reason) (penstock_queue_items)"), ["no label `reason`"])
        self.assertEqual(self.problems("penstock:known + penstock:unknown"), ["no recording rule `penstock:unknown`"])


class Settings(unittest.TestCase):
    TEXT = (builder.FOLDER / "settings.toml").read_text(encoding="utf-8")

    def refused(self, text: str) -> str:
        with self.assertRaises(settings.SettingsError) as raised:
            read(text)
        return str(raised.exception)

    def test_a_latency_that_no_bucket_counts_is_refused(self) -> None:
        self.assertIn("`latency.seconds`", self.refused(self.TEXT.replace("seconds = 0.5", "seconds = 0.3", 1)))

    def test_an_objective_that_could_never_alert_is_refused(self) -> None:
        self.assertIn("`availability.objective`", self.refused(self.TEXT.replace("0.999", "0.9", 1)))

    def test_an_unknown_key_is_refused(self) -> None:
        self.assertIn("[budget]", self.refused(self.TEXT.replace("usd_per_month", "usd_per_year", 1)))

    def test_a_model_with_its_own_objective_is_counted_by_it_alone(self) -> None:
        text = self.TEXT + '\n[latency.models.quick]\nseconds = 0.1\nobjective = 0.95\n'
        rules = objectives.rules(read(text))
        self.assertIn(r'le=\"0.5\",model!~\"quick\"', rules)
        self.assertIn(r'le=\"0.1\",model=\"quick\"', rules)


if __name__ == "__main__":
    unittest.main()

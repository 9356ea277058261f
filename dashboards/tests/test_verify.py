"""The check counts what has no data, by a server that answers as Prometheus does."""

import http.server
import json
import tempfile
import threading
import unittest
import urllib.parse
from pathlib import Path

from dashboards.verify.queries import QueryError, Span, ask

ANSWERS = {
    "full": [{"metric": {"model": "m"}, "values": [[1, "0"], [2, "3"]]}],
    "zero": [{"metric": {}, "values": [[1, "0"]]}],
    "not_a_number": [{"metric": {}, "values": [[1, "NaN"]]}],
    "empty": [],
    "rate(full[20s])": [{"metric": {"model": ".*"}, "values": [[1, "1"]]}],
}


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Answers the queries above, and refuses others."""

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        found = ANSWERS.get(form["query"][0])
        body = json.dumps({"data": {"result": found}} if found is not None else {"error": "parse error"}).encode()
        self.send_response(200 if found is not None else 400)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Ask(unittest.TestCase):
    def setUp(self) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, *expressions: str) -> list:
        panel = {"type": "stat", "title": "p", "targets": [
            {"expr": expression, "legendFormat": "{{model}}", "refId": chr(65 + index)} for index, expression in enumerate(expressions)
        ]}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "d.json").write_text(json.dumps({"title": "d", "panels": [panel, {"type": "row"}]}))
            panels, _ = ask(f"http://127.0.0.1:{self.server.server_address[1]}", Path(folder), Span(0, 60))
        return panels

    def test_a_panel_with_a_number_has_data(self) -> None:
        [answer] = self.ask("full")
        self.assertTrue(answer.has_data)
        self.assertFalse(answer.is_always_zero)
        self.assertEqual(answer.series[0]["legend"], "m")

    def test_no_series_and_no_number_are_no_data(self) -> None:
        self.assertFalse(self.ask("empty")[0].has_data)
        self.assertFalse(self.ask("not_a_number")[0].has_data)

    def test_zeroes_are_data_and_told_apart(self) -> None:
        self.assertTrue(self.ask("zero")[0].is_always_zero)

    def test_one_empty_query_of_two_is_named(self) -> None:
        [answer] = self.ask("full", "empty")
        self.assertTrue(answer.has_data)
        self.assertEqual(answer.empty_queries, ["B"])

    def test_variables_are_filled_in(self) -> None:
        self.assertTrue(self.ask("rate(full[$__rate_interval])")[0].has_data)

    def test_a_refused_query_is_an_error_that_names_it(self) -> None:
        with self.assertRaisesRegex(QueryError, "parse error: nonsense"):
            self.ask("nonsense")


if __name__ == "__main__":
    unittest.main()

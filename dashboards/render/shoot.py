"""Draws every dashboard of a data file with Grafana's components and takes a screenshot in headless Chromium.

    python3 dashboards/render/shoot.py --data data.json --work FOLDER --output dashboards/screenshots

Needs node and npm for the first run (some minutes), and chromium. `data.json` is written by `python -m dashboards.verify --data`.
"""

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import threading
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 24 * 60 + 24
ROW = 38
# Drawing begins when the page has its data, and canvases are drawn some frames later; Chromium's own clock runs ahead meanwhile.
SETTLE_MS = 15_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that does not log."""

    def log_message(self, *_: object) -> None:
        pass


def build(work: Path) -> Path:
    """The page, built in `work`, whose packages are kept for the next time."""
    for name in ("package.json", "vite.config.js", "index.html", "src"):
        source = HERE / name
        if source.is_dir():
            shutil.copytree(source, work / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, work / name)
    if not (work / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=work, check=True)
    subprocess.run(["npm", "run", "build", "--silent"], cwd=work, check=True)
    return work / "dist"


def with_rows(data: dict) -> dict:
    """Adds the headings, which have no data, from the generated dashboards."""
    for path in (HERE.parent / "generated").glob("*.json"):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
        if dashboard["title"] in data["dashboards"]:
            data["dashboards"][dashboard["title"]]["rows"] = rows
    return data


def shoot(url: str, page: dict, output: Path, profile: Path) -> None:
    """One screenshot, as high as the dashboard."""
    bottom = max(each["panel"]["gridPos"]["y"] + each["panel"]["gridPos"]["h"] for each in page["panels"])
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
        f"--window-size={WIDTH},{bottom * ROW + 70}", f"--virtual-time-budget={SETTLE_MS}", f"--screenshot={output}", url,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for packages and the built page; kept")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    dist = build(arguments.work)
    data = with_rows(json.loads(arguments.data.read_text(encoding="utf-8")))
    (dist / "data.json").write_text(json.dumps(data), encoding="utf-8")
    handler = functools.partial(Quiet, directory=dist)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for title, page in data["dashboards"].items():
            name = title.split("/")[-1].strip().lower()
            query = urllib.parse.urlencode({"dashboard": title, "theme": arguments.theme})
            shoot(f"http://127.0.0.1:{server.server_address[1]}/?{query}", page, arguments.output / f"{name}.png", arguments.work / "profile")
            print(arguments.output / f"{name}.png")
        server.shutdown()


if __name__ == "__main__":
    main()

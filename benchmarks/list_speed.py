"""What a list of many photos costs whoever asks about one car meanwhile.

    python benchmarks/list_speed.py BUNDLE PHOTOS [--rounds 5] [--seconds 6]

BUNDLE is an export, PHOTOS a folder of photos. Rounds interleave: a lone client of the desk, and
the same while a list of the photos, sent over and over, is being answered. Told are the client's
times, their ratio in each round, and how many photos of the list were answered meanwhile.
"""

import argparse
import asyncio
import io
import json
import os
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from serve_speed import load_with, read_cpu_s, serving, tell

MOST_IN_LIST = 5_000


def build_list(photos):
    """A form with the photos, over and over, in a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for number in range(MOST_IN_LIST):
            packed.writestr(f"{number}.jpg", photos[number % len(photos)])
    head = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="x.zip"\r\n\r\n'
    return head + stream.getvalue() + b"\r\n--b--\r\n"


def ask(address, method="GET", body=None):
    headers = {"Content-Type": "multipart/form-data; boundary=b"} if body else {}
    request = urllib.request.Request(address, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read() or b"null")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(Path(options.photos).iterdir())]
    photos = [photo for photo in photos if len(photo) * MOST_IN_LIST < 1_900_000_000]
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        desk = [sys.executable, "-m", "lotlens.cli", "serve", options.bundle, "--port", "0"]
        desk += ["--no-browser", "-q", "--database", f"sqlite:///{folder}/desk.sqlite"]
        with serving(desk) as (host, process):
            jobs = f"http://{host}/api/v1/jobs"
            for _ in range(options.rounds):
                alone = asyncio.run(load_with(host, photos, 1, options.seconds))
                id_ = ask(jobs, "POST", build_list(photos))["id"]
                before, used_s = ask(f"{jobs}/{id_}")["done"], read_cpu_s(process)
                beside = asyncio.run(load_with(host, photos, 1, options.seconds))
                beside["listed"] = ask(f"{jobs}/{id_}")["done"] - before
                num_answered = beside["listed"] + beside["answered"]
                beside["cpu_ms"] = 1e3 * (read_cpu_s(process) - used_s) / max(1, num_answered)
                ask(f"{jobs}/{id_}", "DELETE")
                rounds.append((alone, beside))
                print(json.dumps({"alone": alone, "beside": beside}), flush=True)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; middle (least to most)")
    for name in ("p50", "p99"):
        tell(f"alone: {name}, ms", [1e3 * alone[name] for alone, _ in rounds])
        tell(f"beside a list: {name}, ms", [1e3 * beside[name] for _, beside in rounds])
        tell(f"{name}, beside over alone", [b[name] / a[name] for a, b in rounds])
    tell("the list's photos/s meanwhile", [b["listed"] / options.seconds for _, b in rounds])
    tell("CPU ms a photo", [b["cpu_ms"] for _, b in rounds])
    if sum(one["failed"] for pair in rounds for one in pair):
        sys.exit("requests failed")


if __name__ == "__main__":
    main()

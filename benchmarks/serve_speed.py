"""The desk under load: photos per second and latencies, against the batch rate and a plain handler.

    python benchmarks/serve_speed.py BUNDLE PHOTOS [--rounds 5] [--seconds 6]

BUNDLE is an export, PHOTOS a folder of photos. Rounds interleave: the batch rate of the same
engine, the desk with a lone client, with 16 and with 64 clients, and the same clients against a
plain FastAPI handler that decodes and calls onnxruntime for each request in a thread. Clients live
in this process and take their share of the same cores; each sends one photo a request and asks
again as soon as it is answered (after 429: 0.2 s later). On a busy machine the CPU time that the
server takes for a photo says more than its rate.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

PLAIN = """
import sys, socket
import uvicorn
from fastapi import FastAPI, UploadFile
from lotlens.deliver.model import load
model = load(sys.argv[1]).open(1)
app = FastAPI()

@app.post("/api/v1/predict")
def predict(photos: UploadFile):
    found = model.answer_bytes([photos.file.read()], ["0"])
    return {"label": int(found.logits[0].argmax())}

listener = socket.create_server(("127.0.0.1", 0))
print(f"page http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
"""


@contextmanager
def serving(command):
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = process.stdout.readline().split()[-1]
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            with suppress(OSError), urllib.request.urlopen(f"{address}openapi.json"):
                break
            with suppress(OSError), urllib.request.urlopen(f"{address}healthz"):
                break
            time.sleep(0.1)
        yield address.removeprefix("http://").rstrip("/"), process
    finally:
        process.terminate()
        process.wait(60)


def build_request(host, photo):
    head = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="x"\r\n'
    body = head + b"Content-Type: image/jpeg\r\n\r\n" + photo + b"\r\n--b--\r\n"
    top = (
        f"POST /api/v1/predict HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return top.encode() + body


async def hear(reader):
    status = int((await reader.readline()).split()[1])
    length, is_closing = 0, False
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.decode().lower().partition(":")
        length = int(value) if name == "content-length" else length
        is_closing = is_closing or (name == "connection" and "close" in value)
    await reader.readexactly(length)
    return status, is_closing


async def ask_on(host, requests, first, end_s, done):
    reader = writer = None
    number = first
    while time.perf_counter() < end_s:
        if writer is None:
            reader, writer = await asyncio.open_connection(*host.split(":"))
        began_s = time.perf_counter()
        writer.write(requests[number % len(requests)])
        number += 7
        status, is_closing = await hear(reader)
        done.append((status, time.perf_counter() - began_s))
        if is_closing:
            writer.close()
            writer = None
        if status == 429:
            await asyncio.sleep(0.2)
    if writer is not None:
        writer.close()


async def load_with(host, photos, num_clients, seconds):
    requests = [build_request(host, photo) for photo in photos]
    done = []
    began_s = time.perf_counter()
    end_s = began_s + seconds
    await asyncio.gather(*(ask_on(host, requests, 31 * k, end_s, done) for k in range(num_clients)))
    took_s = time.perf_counter() - began_s
    times = np.array([took for status, took in done if status == 200])
    return {
        "answered": len(times),
        "rate": len(times) / took_s,
        "p50": float(np.quantile(times, 0.5)),
        "p99": float(np.quantile(times, 0.99)),
        "refused": sum(status == 429 for status, _ in done),
        "failed": sum(status not in (200, 429) for status, _ in done),
    }


def measure_batch_rate(bundle, paths):
    code = (
        "import sys, time\n"
        "from lotlens.deliver.model import load\n"
        "from lotlens.photos.sources import open_photos\n"
        "from pathlib import Path\n"
        "catalog = open_photos([Path(sys.argv[2])])\n"
        "opened = load(sys.argv[1]).open(10_000)\n"
        "opened.answer(catalog.spread(16))\n"
        "began, used = time.perf_counter(), time.process_time()\n"
        "opened.answer(catalog)\n"
        "print(len(catalog) / (time.perf_counter() - began))\n"
        "print((time.process_time() - used) / len(catalog))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bundle, paths], check=True, capture_output=True, text=True
    )
    rate, cpu_s = map(float, done.stdout.split())
    return {"rate": rate, "cpu_ms": 1e3 * cpu_s}


def read_cpu_s(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_memory_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def tell(name, values):
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    print(f"{name:<44} {middle:8.3f}  ({low:.3f} to {high:.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(Path(options.photos).iterdir())]
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        desk = [sys.executable, "-m", "lotlens.cli", "serve", options.bundle, "--port", "0"]
        desk += ["--no-browser", "-q", "--database", f"sqlite:///{folder}/desk.sqlite"]
        plain = [sys.executable, "-c", PLAIN, options.bundle]
        with serving(desk) as (own, process), serving(plain) as (other, plain_process):
            first_mb = None
            for _ in range(options.rounds):
                found = {"batch": measure_batch_rate(options.bundle, options.photos)}
                for name, host, server, clients in (
                    ("lone", own, process, 1),
                    ("full", own, process, 16),
                    ("plain", other, plain_process, 16),
                    ("over", own, process, 64),
                    ("plain lone", other, plain_process, 1),
                ):
                    used_s = read_cpu_s(server)
                    one = asyncio.run(load_with(host, photos, clients, options.seconds))
                    one["cpu_ms"] = 1e3 * (read_cpu_s(server) - used_s) / one["answered"]
                    found[name] = one
                used_s = read_cpu_s(process)
                time.sleep(options.seconds)
                found["idle"] = {"cpu_ms": 1e3 * (read_cpu_s(process) - used_s), "failed": 0}
                rounds.append(found)
                print(json.dumps(found), flush=True)
                first_mb = first_mb or read_memory_mb(process)
            print(f"memory {first_mb:.0f} MB after the first round, {read_memory_mb(process):.0f}")
    print(f"{os.cpu_count()} cores, {len(photos)} photos, load average {os.getloadavg()[0]:.1f}")
    for name in ("batch", "lone", "full", "plain", "over", "plain lone"):
        tell(f"{name}: photos/s", [r[name]["rate"] for r in rounds])
        tell(f"{name}: CPU ms a photo", [r[name]["cpu_ms"] for r in rounds])
        if name != "batch":
            tell(f"{name}: p50 ms", [1e3 * r[name]["p50"] for r in rounds])
            tell(f"{name}: p99 ms", [1e3 * r[name]["p99"] for r in rounds])
    for one, other, what in (
        ("full", "batch", "rate"),
        ("batch", "full", "cpu_ms"),
        ("full", "plain", "rate"),
        ("plain", "full", "cpu_ms"),
        ("over", "lone", "p99"),
    ):
        tell(f"{one} / {other}: {what}", [r[one][what] / r[other][what] for r in rounds])
    tell("over: refused", [r["over"]["refused"] for r in rounds])
    tell("idle: CPU ms", [r["idle"]["cpu_ms"] for r in rounds])
    tell("failed", [sum(r[k]["failed"] for k in r if k != "batch") for r in rounds])


if __name__ == "__main__":
    main()

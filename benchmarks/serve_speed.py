"""The desk under load: rates and latencies, against the batch rate and two other servers.

    python benchmarks/serve_speed.py BUNDLE PHOTOS [--rounds 5] [--seconds 6] [--apart]
    python benchmarks/serve_speed.py BUNDLE PHOTOS --soak MINUTES
    python benchmarks/serve_speed.py BUNDLE PHOTOS --sessions

BUNDLE is an export, PHOTOS a folder of photos. Rounds interleave: the batch rate of the same
engine; the desk with a lone client, with 16 clients that ask again as soon as they are answered
(after 429: when `Retry-After` says), and with four times the rate that these got, as arrivals at
random times that wait for nobody; the same 16 and the lone client against two plain FastAPI
handlers in threads: "plain itself", which decodes and calls onnxruntime as it comes and answers
with a class, and "plain", which has lotlens answer, with all that the desk looks at; and against
LitServe, which has it answer too, in batches of up to eight, where it is installed. Each request
has one photo. Clients live in this process and take their share of the same cores. On a busy
machine the CPU time that the server takes for a photo says more than its rate, and a ratio of two
figures of one round more than either.

--apart gives the clients the last core, and the servers and the batch all others: then clients take
nothing from what they ask.

--soak MINUTES measures nothing but memory, of the desk at four times the load, every minute.
--sessions compares one session whose calls take all cores with one that as many threads call as
there are cores, each on one of them: photos per second and CPU time, in batches of 1 and of 8.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

PINNED: list[str] = []
"""What keeps a program to some of the cores, put before its command."""
PLAIN_ITSELF = """
import sys, socket
from pathlib import Path
import numpy as np
import onnxruntime, uvicorn
from fastapi import FastAPI, UploadFile
from lotlens.deliver.model import load
from lotlens.photos.prepare import prepare_bytes
session = onnxruntime.InferenceSession(Path(sys.argv[1], "model.onnx"))
image = load(sys.argv[1]).card.image
app = FastAPI()

@app.post("/api/v1/predict")
def predict(photos: UploadFile):
    batch = prepare_bytes(photos.file.read(), image)[None]
    logits = session.run(["logits"], {"photos": batch})[0][0]
    return {"label": int(logits.argmax())}

listener = socket.create_server(("127.0.0.1", 0))
print(f"page http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
"""
"""What who knows onnxruntime alone would write: its defaults, and a class for an answer."""
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

LITSERVE = """
import sys, socket
import litserve
from lotlens.deliver.model import load

class Answers(litserve.LitAPI):
    def setup(self, device):
        self.model = load(sys.argv[1]).open(10_000)

    def decode_request(self, request):
        return request["photos"].file.read()

    def batch(self, inputs):
        return inputs

    def predict(self, photos):
        found = self.model.answer_bytes(photos, [str(n) for n in range(len(photos))])
        return found.logits.argmax(axis=1).tolist()

    def unbatch(self, output):
        return output

    def encode_response(self, label):
        return {"label": label}

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    print(f"page http://127.0.0.1:{port}/", flush=True)
    api = Answers(max_batch_size=8, batch_timeout=0.005, api_path="/api/v1/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=port, log_level="critical", generate_client_file=False)
"""
"""As many processes with a session of one thread as there are cores, batches of up to eight."""


@contextmanager
def serving(command):
    """A server with its children: its address, and the process that leads their group."""
    process = subprocess.Popen(
        [*PINNED, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        address = process.stdout.readline().split()[-1]
        wait_for(address)
        yield address.removeprefix("http://").rstrip("/"), process
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # children that it left
            os.killpg(process.pid, signal.SIGKILL)


def pause(steps, running):
    """Stop all servers but one: what polls for work takes cores from the others."""
    for _, _, server, _ in steps:
        os.killpg(server.pid, signal.SIGCONT if server is running else signal.SIGSTOP)


def wait_for(address):
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for path in ("openapi.json", "healthz", "health"):
            with suppress(OSError), urllib.request.urlopen(f"{address}{path}"):
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing answers at {address}")


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
    length, is_closing, wait_s = 0, False, 0
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.decode().lower().partition(":")
        length = int(value) if name == "content-length" else length
        is_closing = is_closing or (name == "connection" and "close" in value)
        wait_s = int(value) if name == "retry-after" else wait_s
    await reader.readexactly(length)
    return status, is_closing, wait_s


async def open_connection(host):
    return await asyncio.open_connection(*host.split(":"))


async def ask_on(host, requests, first, end_s, done):
    reader = writer = None
    number = first
    while time.perf_counter() < end_s:
        if writer is None:
            reader, writer = await open_connection(host)
        began_s = time.perf_counter()
        writer.write(requests[number % len(requests)])
        number += 7
        status, is_closing, wait_s = await hear(reader)
        done.append((status, time.perf_counter() - began_s))
        if is_closing:
            writer.close()
            writer = None
        await asyncio.sleep(wait_s)
    if writer is not None:
        writer.close()


async def arrive(host, requests, per_s, end_s, done):
    """Requests at random times, each by a connection that is idle, or by one more."""
    chance, idle, running = random.Random(0), [], set()

    async def send(request):
        began_s = time.perf_counter()
        try:
            while idle and began_s - idle[-1][2] > 4:  # before the server lets go of it
                idle.pop()[1].close()
            reader, writer = idle.pop()[:2] if idle else await open_connection(host)
            writer.write(request)
            status, is_closing, _ = await hear(reader)
        except (OSError, EOFError, IndexError, ValueError):
            # The server hung up while the body was still sent: a refusal that was not heard.
            done.append((0, time.perf_counter() - began_s))
            return
        done.append((status, time.perf_counter() - began_s))
        if is_closing:
            writer.close()
        else:
            idle.append((reader, writer, time.perf_counter()))

    next_s, number = time.perf_counter(), 0
    while next_s < end_s:
        next_s += chance.expovariate(per_s)
        await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
        running.add(task := asyncio.create_task(send(requests[number % len(requests)])))
        task.add_done_callback(running.discard)
        number += 7
    await asyncio.gather(*running)
    for _, writer, _ in idle:
        writer.close()


async def load_with(host, photos, seconds, *, clients=0, per_s=0.0):
    requests = [build_request(host, photo) for photo in photos]
    done = []
    began_s = time.perf_counter()
    end_s = began_s + seconds
    if clients:
        await asyncio.gather(*(ask_on(host, requests, 31 * k, end_s, done) for k in range(clients)))
    else:
        await arrive(host, requests, per_s, end_s, done)
    took_s = time.perf_counter() - began_s
    times = np.array([took for status, took in done if status == 200])
    refused = [took for status, took in done if status == 429]
    return {
        "answered": len(times),
        "asked_rate": len(done) / took_s,
        "rate": len(times) / took_s,
        "p50": float(np.quantile(times, 0.5)),
        "p99": float(np.quantile(times, 0.99)),
        "refused": len(refused),
        "refused_p50": float(np.quantile(refused, 0.5)) if refused else 0.0,
        "unheard": sum(status == 0 for status, _ in done),
        "failed": sum(status not in (0, 200, 429) for status, _ in done),
        "statuses": dict(Counter(status for status, _ in done)),
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
        [*PINNED, sys.executable, "-c", code, bundle, paths],
        check=True,
        capture_output=True,
        text=True,
    )
    rate, cpu_s = map(float, done.stdout.split())
    return {"rate": rate, "cpu_ms": 1e3 * cpu_s}


SESSIONS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from lotlens.answering.predict import ONE_BLAS_THREAD
from lotlens.deliver.model import load
photos = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
model, size = load(sys.argv[1]).open(int(sys.argv[3])), int(sys.argv[4])
batches = [photos[at : at + size] for at in range(0, len(photos), size)]

def answer(batch):
    model.answer_bytes(batch, [str(n) for n in range(len(batch))])

model.warm_up()
with ThreadPoolExecutor(model.num_streams) as pool, ONE_BLAS_THREAD:  # as the desk's workers do
    list(pool.map(answer, batches[:4]))
    began, used = time.perf_counter(), time.process_time()
    list(pool.map(answer, batches))
    print(len(photos) / (time.perf_counter() - began))
    print((time.process_time() - used) / len(photos))
"""


def compare_sessions(bundle, paths, num_rounds):
    found = {}
    for _ in range(num_rounds):
        for size in (1, 8):
            for name, num_photos in (("one of all cores", 1), ("a thread a core", 10_000)):
                command = [
                    sys.executable,
                    "-c",
                    SESSIONS,
                    bundle,
                    paths,
                    str(num_photos),
                    str(size),
                ]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.setdefault((name, size), []).append(list(map(float, done.stdout.split())))
    for (name, size), values in found.items():
        rates, cpu_s = zip(*values, strict=True)
        tell(f"{name}, batches of {size}: photos/s", rates)
        tell(f"{name}, batches of {size}: CPU ms a photo", [1e3 * one for one in cpu_s])
    for size in (1, 8):
        one, other = found["one of all cores", size], found["a thread a core", size]
        pairs = list(zip(one, other, strict=True))
        tell(f"thread a core / one, batches of {size}: rate", [b[0] / a[0] for a, b in pairs])
        tell(f"one / thread a core, batches of {size}: CPU", [a[1] / b[1] for a, b in pairs])


def list_processes(process):
    """It and its children."""
    found = [process.pid]
    for pid in found:
        with suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def read_cpu_s(process):
    total = 0
    for pid in list_processes(process):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def read_memory_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def tell(name, values):
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    print(f"{name:<44} {middle:8.3f}  ({low:.3f} to {high:.3f})")


def soak(host, photos, process, minutes):
    rate = asyncio.run(load_with(host, photos, 10, clients=16))["rate"]
    print(f"16 clients: {rate:.1f} photos/s", flush=True)
    for minute in range(minutes):
        one = asyncio.run(load_with(host, photos, 60, per_s=4 * rate))
        told = {key: one[key] for key in ("answered", "refused", "unheard", "failed", "statuses")}
        print(f"minute {minute + 1}: {read_memory_mb(process):.0f} MB {told}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--soak", type=int, metavar="MINUTES")
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--apart", action="store_true")
    options = parser.parse_args()
    if options.apart:
        *cores, last = sorted(os.sched_getaffinity(0))
        PINNED.extend(["taskset", "--cpu-list", ",".join(map(str, cores))])
        os.sched_setaffinity(0, {last})
    if options.sessions:
        compare_sessions(options.bundle, options.photos, options.rounds)
        return
    photos = [path.read_bytes() for path in sorted(Path(options.photos).iterdir())]
    rounds = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        desk = [sys.executable, "-m", "lotlens.cli", "serve", options.bundle, "--port", "0"]
        desk += ["--no-browser", "-q", "--database", f"sqlite:///{folder}/desk.sqlite"]
        own, process = stack.enter_context(serving(desk))
        if options.soak:
            soak(own, photos, process, options.soak)
            return
        steps = [("lone", own, process, 1), ("full", own, process, 16), ("over", own, process, 0)]
        others = {
            "plain itself": [sys.executable, "-c", PLAIN_ITSELF, options.bundle],
            "plain": [sys.executable, "-c", PLAIN, options.bundle],
        }
        if importlib.util.find_spec("litserve"):
            script = Path(folder) / "lit.py"
            script.write_text(LITSERVE)
            cores = str(len(os.sched_getaffinity(0)))
            others["litserve"] = [sys.executable, str(script), options.bundle, cores]
        for name, command in others.items():
            other, its_process = stack.enter_context(serving(command))
            steps += [(name, other, its_process, 16), (f"{name} lone", other, its_process, 1)]
        memory_mb = []
        for _ in range(options.rounds):
            pause(steps, None)
            found = {"batch": measure_batch_rate(options.bundle, options.photos)}
            for name, host, server, clients in steps:
                pause(steps, server)
                used_s = read_cpu_s(server)
                per_s = 0.0 if clients else 4 * found["full"]["rate"]
                one = asyncio.run(
                    load_with(host, photos, options.seconds, clients=clients, per_s=per_s)
                )
                one["cpu_ms"] = 1e3 * (read_cpu_s(server) - used_s) / one["answered"]
                found[name] = one
            pause(steps, process)
            used_s = read_cpu_s(process)
            time.sleep(options.seconds)
            found["idle"] = {"cpu_ms": 1e3 * (read_cpu_s(process) - used_s), "failed": 0}
            rounds.append(found)
            print(json.dumps(found), flush=True)
            memory_mb.append(read_memory_mb(process))
    print(f"memory {memory_mb[0]:.0f} MB after the first round, {memory_mb[-1]:.0f} after the last")
    print(f"{os.cpu_count()} cores, {len(photos)} photos, load average {os.getloadavg()[0]:.1f}")
    for name in ("batch", *(name for name, *_ in steps)):
        for key, unit, scale in (
            ("rate", "photos/s", 1),
            ("cpu_ms", "CPU ms a photo", 1),
            ("p50", "p50 ms", 1e3),
            ("p99", "p99 ms", 1e3),
        ):
            if key in rounds[0][name]:
                tell(f"{name}: {unit}", [scale * r[name][key] for r in rounds])
    pairs = [("full", "batch", "rate"), ("batch", "full", "cpu_ms"), ("over", "lone", "p99")]
    pairs += [("over", "lone", "p50"), ("full", "lone", "p99")]
    for name in others:
        pairs += [("full", name, "rate"), (name, "full", "cpu_ms"), ("lone", f"{name} lone", "p50")]
    for one, other, what in pairs:
        tell(f"{one} / {other}: {what}", [r[one][what] / r[other][what] for r in rounds])
    for key in ("asked_rate", "refused", "unheard"):
        tell(f"over: {key}", [r["over"][key] for r in rounds])
    tell("over: a refusal, p50 ms", [1e3 * r["over"]["refused_p50"] for r in rounds])
    tell("idle: CPU ms", [r["idle"]["cpu_ms"] for r in rounds])
    tell("failed", [sum(r[k]["failed"] for k in r if k != "batch") for r in rounds])


if __name__ == "__main__":
    main()

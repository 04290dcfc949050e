# SPDX-License-Identifier: LGPL-2.1-or-later
"""The thumbnails application on real photos, warm, over HTTP, in a throw-away host: the whole request less what its four
functions computed. A function's receipt in the journal says its CPU time (of its process and what that started) and its
wall-clock time from hand-over to reply. `extract` calls `check`, which calls `sign`, and then `resize`, so the request
is one chain, and what is not CPU time of a function is the way: gateway, supervisor, hand-overs, copies, and waiting
for a CPU."""

import glob
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import bench

EXAMPLE = "/usr/lib/sand/examples/thumbnails"
FUNCTIONS = ("extract", "check", "sign", "resize")


def deploy(place):
    """The example, with a receipt for each event."""
    shutil.copytree(EXAMPLE, place.path("thumbnails"))
    with open(place.path("thumbnails/sand.json")) as f:
        text = f.read()
    place.write("thumbnails/sand.json", text.replace('"name": "thumbnails",', '"name": "thumbnails", "receipts": "all",', 1))
    subprocess.run(["sandctl", "deploy", "-q", place.path("thumbnails")], check=True)


def post(connection, photo):
    """How long that took, microseconds, and the execution's id."""
    start = time.monotonic()
    connection.request("POST", "/invoke/thumbnails/extract", photo, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    body = answer.read()
    elapsed = (time.monotonic() - start) * 1e6
    if answer.status != 200:
        sys.exit(f"status {answer.status}: {body[:300]}")
    return elapsed, answer.headers["Sand-Execution"]


def receipts():
    """By execution and function: (CPU, wall)."""
    found = {}
    text = subprocess.run(["journalctl", "-q", "-o", "json", "SAND_APP=thumbnails", "SAND_RESULT=ok"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in text.splitlines():
        entry = json.loads(line)
        found.setdefault(entry["SAND_EXECUTION"], {})[entry["SAND_FUNCTION"]] = (int(entry["SAND_CPU_USEC"]),
                                                                                int(entry["SAND_WALL_USEC"]))
    return found


def median_row(name, size, requests, found):
    def median(values):
        return statistics.median(values) / 1000

    of = [(elapsed, found[execution]) for elapsed, execution in requests]
    r = {"name": name, "bytes": size, "total": median(elapsed for elapsed, _ in of),
         "compute": median(sum(cpu for cpu, _ in f.values()) for _, f in of),
         "rest": median(elapsed - sum(cpu for cpu, _ in f.values()) for elapsed, f in of),
         "outside": median(elapsed - f["extract"][1] for elapsed, f in of)}
    for function in FUNCTIONS:
        r[function] = median(f[function][0] for _, f in of)
    r["part"] = 100 * r["rest"] / r["total"]
    return r


def main():
    p = bench.parser(__doc__)
    p.add_argument("--rounds", type=int, default=20, help="of each photo")
    p.add_argument("--photos", default="/root/photos", help=bench.argparse.SUPPRESS)
    arg = p.parse_args()
    report = bench.Report("pipeline", arg.json, rounds=arg.rounds)
    place = bench.Place()
    deploy(place)
    connection = http.client.HTTPConnection("127.0.0.1", 8080)
    requests = {}
    for path in sorted(glob.glob(f"{arg.photos}/*.jpg")):
        with open(path, "rb") as f:
            photo = f.read()
        for _ in range(3):
            post(connection, photo)
        requests[path] = [post(connection, photo) for _ in range(arg.rounds)]
    subprocess.run(["journalctl", "--sync"], check=True)
    executions = [execution for done in requests.values() for _, execution in done]
    bench.wait_for("the receipts", lambda: all(len(receipts().get(e, ())) == len(FUNCTIONS) for e in executions))
    found = receipts()
    report.section("milliseconds, medians; by function: CPU", ("total", "total", 2), ("compute", "sum of CPU", 2),
                   ("rest", "the rest", 2), ("part", "%", 0), ("outside", "round extract", 2), *((f, f, 2) for f in FUNCTIONS))
    for path, done in requests.items():
        size = os.path.getsize(path)
        report.add(median_row(f"{os.path.basename(path)}, {size / 1e6:.1f} MB", size, done, found))
    report.end()


if __name__ == "__main__":
    sys.exit(main())

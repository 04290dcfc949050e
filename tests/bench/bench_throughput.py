# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many events a second, and at which latency.

One caller on the application's socket, echo functions, beside floors of the same run: the bare relay of three
processes (caller, hub, callee) over sd-bus and raw, and fork + exit + wait by a process that is what the worker is.
Then independent chains of computing functions with and without placement, Python, and the worker's memory."""

import os
import subprocess
import sys
import time

import bench

FLIGHTS = (1, 4, 16, 32, 64)
RATE = ("per_second", "events/s", 0)
P50, P99 = ("p50", "p50 us", 1), ("p99", "p99 us", 1)


def best(found):
    return max(found, key=lambda r: r["per_second"])


def floors(report, place, arg):
    """The relays' best, as events/s, and the fork loop."""
    placements = (("hub alone on a CPU", {"hub": 0, "callee": 1, "caller": 1}), ("one CPU", {"hub": 0, "callee": 0, "caller": 0}),
                  ("free", {}))
    report.section("floors, 32 in flight", RATE, P50, P99, ("mean", "mean us", 1), ("resident_mib", "RSS MiB", 1))
    kinds = {}
    for kind, title in (("raw", "raw relay"), ("sdbus", "bare sd-bus relay")):
        kinds[kind] = best([report.add(bench.relay(place, kind, f"{title}, {where}", flight=32, bytes=arg.bytes,
                                                   seconds=arg.seconds, **cpus))
                            for where, cpus in placements if os.cpu_count() > 1 or where != "hub alone on a CPU"])
    fork = report.add(bench.row([bench.program("fork-floor"), bench.program("load-functions.so"), arg.seconds],
                                name="fork + _exit + wait of a loaded worker, every CPU"))
    return kinds["raw"], kinds["sdbus"], fork


def closed_loop(report, app, arg, function, title, floor, floor_name):
    report.section(f"closed loop, {title}", RATE, P50, P99, ("ratio", f"of {floor_name}", 2))
    found = []
    for n in FLIGHTS:
        r = app.load(function, f"{n} in flight", flight=n, bytes=arg.bytes, seconds=arg.seconds)
        found.append(report.add(r | {"ratio": r["per_second"] / floor["per_second"]}))
    return best(found)["per_second"]


def open_loop(report, app, arg, function, title, most):
    report.section(f"open loop, {title}", RATE, P50, P99, ("ratio", "p99/p50", 1))
    for part in (50, 90):
        r = app.load(function, f"{part} % of {most:.0f}/s", rate=max(1, int(most * part / 100)), bytes=arg.bytes,
                     seconds=arg.seconds, poisson=arg.poisson)
        report.add(r | {"ratio": r["p99"] / r["p50"] if r["p50"] else None})


def system_calls(report, app, arg):
    """Of the supervisor, which strace slows down but does not change."""
    report.section("system calls of the supervisor an event", ("calls", "calls", 1))
    for function, title in (("once", "events: 1"), ("many", "events: 0")):
        for n in (1, 32):
            strace = subprocess.Popen(["strace", "-c", "-q", "-p", str(app.pid("sand-supervisord")), "-o", app.place.path("strace")],
                                      stderr=subprocess.DEVNULL)
            time.sleep(0.3)
            r = app.load(function, title, flight=n, bytes=arg.bytes, seconds=2, warmup=0)
            strace.send_signal(2)
            strace.wait()
            lines = [line.split() for line in open(app.place.path("strace")) if line.strip()]
            counts = {line[-1]: int(line[3]) for line in lines if len(line) >= 5 and line[3].isdigit()}
            events = r["per_second"] * 2
            report.add({"name": f"{title}, {n} in flight", "calls": counts.pop("total", 0) / events,
                        "by_name": {k: round(v / events, 2) for k, v in counts.items()}})
            report.note("  " + ", ".join(f"{k} {v / events:.1f}" for k, v in sorted(counts.items(), key=lambda i: -i[1])[:7]))


def echo(report, place, arg):
    raw, sdbus, fork = floors(report, place, arg)
    functions = {"once": bench.native(), "many": bench.native(events=0), "python": bench.python(),
                 "big": bench.native(environment={"HEAP_MIB": "64"})}
    app = bench.App(place, bench.bundle(place, "echo", functions), "echo")
    once = closed_loop(report, app, arg, "once", "events: 1, a fresh process each", fork, "fork loop")
    many = closed_loop(report, app, arg, "many", "events: 0", sdbus, "sd-bus relay")
    open_loop(report, app, arg, "once", "events: 1", once)
    open_loop(report, app, arg, "many", "events: 0", many)
    report.section("events: 1, 32 in flight", RATE, P50, P99, ("ratio", "of C", 2))
    for function, title in (("python", "Python, `return event`"), ("big", "C with 64 MiB of heap")):
        r = app.load(function, title, flight=32, bytes=arg.bytes, seconds=arg.seconds)
        report.add(r | {"ratio": r["per_second"] / once})
    if not arg.no_strace:
        system_calls(report, app, arg)
    app.stop()


def fork_by_memory(report, arg):
    report.section("fork + _exit + wait against the worker's memory", RATE, ("mean", "mean us", 1), ("resident_mib", "RSS MiB", 1),
                   ("ratio", "of the smallest", 2))
    first = None
    for mib in (0, 16, 64, 128):
        for name, tunable in (("", ""), (", heap in huge pages", "glibc.malloc.hugetlb=1")):
            if mib == 0 and tunable:
                continue
            r = bench.row([bench.program("fork-floor"), bench.program("load-functions.so"), 1], name=f"heap {mib} MiB{name}",
                          env={"HEAP_MIB": str(mib), "GLIBC_TUNABLES": tunable})
            first = first or r
            report.add(r | {"ratio": r["mean"] / first["mean"]})


def chains(report, place, arg):
    """Chains of three functions that compute; eight at once."""
    report.section("8 independent chains of 3 computing functions", RATE, P50, P99, ("ratio", "of unplaced", 2),
                   ("ceiling_ratio", "of ceiling", 2))
    for compute in arg.compute:
        functions = {f"c{i}": bench.native("compute", {"COMPUTE": str(compute)} | ({"NEXT": f"c{i + 1}"} if i < 3 else {}))
                     for i in (1, 2, 3)}
        directory = bench.bundle(place, f"chains{compute}", functions)
        ceiling = len(os.sched_getaffinity(0)) * 1e6 / (3 * compute)
        unplaced = None
        for title, env in (("free", {"SAND_PLACEMENT": "free"}), ("placed", {})):
            app = bench.App(place, directory, f"chains{compute}", env=env)
            r = app.load("c1", f"3 x {compute} us, {title}", flight=8, bytes=64, seconds=arg.seconds)
            unplaced = unplaced or r
            report.add(r | {"ratio": r["per_second"] / unplaced["per_second"], "ceiling_ratio": r["per_second"] / ceiling})
            app.stop()


def main():
    p = bench.parser(__doc__)
    p.add_argument("--bytes", type=int, default=1024)
    p.add_argument("--seconds", type=int, default=3, help="of each measurement")
    p.add_argument("--poisson", action="store_true", help="open loop: at random instead of evenly spaced")
    p.add_argument("--compute", type=int, nargs="*", default=[300, 2000], help="microseconds of each function of the chains")
    p.add_argument("--no-strace", action="store_true", help="do not count system calls")
    p.add_argument("--only", choices=["echo", "memory", "chains"], help="one part of it")
    arg = p.parse_args()
    report = bench.Report("throughput", arg.json, bytes=arg.bytes, seconds_each=arg.seconds, cpus=os.cpu_count())
    place = bench.Place()
    if arg.only in (None, "echo"):
        echo(report, place, arg)
    if arg.only in (None, "memory"):
        fork_by_memory(report, arg)
    if arg.only in (None, "chains"):
        chains(report, place, arg)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

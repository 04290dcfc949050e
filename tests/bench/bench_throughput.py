# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many events a second, and at which latency.

One caller on the application's socket, echo functions, beside floors of the same run: the bare relay of three
processes (caller, hub, callee) over sd-bus and raw, and fork + exit + wait by a process that is what the worker is.
Then independent chains of computing functions with and without placement, Python, and the worker's memory."""

import os
import sys

import bench
import bench_peers

FLIGHTS = (1, 4, 16, 32, 64)
RATE = ("per_second", "events/s", 0)
P50, P99 = ("p50", "p50 us", 1), ("p99", "p99 us", 1)


def best(found):
    return max(found, key=lambda r: r["per_second"])


def relays(report, place, arg, kinds):
    """Of these kinds of relay and each placement a row; the best."""
    placements = [("one CPU", {"hub": 0, "callee": 0, "caller": 0}), ("free", {})]
    if os.cpu_count() > 1:
        placements.append(("hub alone on a CPU", {"hub": 0, "callee": 1, "caller": 1}))
    return best([report.add(bench.relay(place, kind, f"{title}, {where}", flight=32, bytes=arg.bytes,
                                        seconds=arg.seconds, **cpus))
                 for kind, title in kinds for where, cpus in placements])


def sdbus_relays(report, place, arg):
    return relays(report, place, arg, [("sdbus", "floor: bare sd-bus relay, 32 in flight")])


def fork_loop(report, place, arg):
    return report.add(bench.row([bench.program("fork-floor"), bench.program("load-functions.so"), arg.seconds],
                                name="floor: fork + _exit + wait of a loaded worker, every CPU"))


def closed_loop(report, app, arg, function, title, floor):
    """Its floor is measured before and after, for the machine may be another one meanwhile."""
    report.section(f"closed loop, {title}", RATE, P50, P99, ("ratio", "of the floor", 2))
    before = floor(report, app.place, arg)
    found = [app.load(function, f"{n} in flight", flight=n, bytes=arg.bytes, seconds=arg.seconds) for n in FLIGHTS]
    after = floor(report, app.place, arg)
    for r in found:
        report.add(r | {"ratio": r["per_second"] / best([before, after])["per_second"]})
    return best(found)["per_second"]


def open_loop(report, app, arg, function, title, most):
    report.section(f"open loop, {title}", RATE, P50, P99, ("ratio", "p99/p50", 1))
    for part in (50, 90):
        r = app.load(function, f"{part} % of {most:.0f}/s", rate=max(1, int(most * part / 100)), bytes=arg.bytes,
                     seconds=arg.seconds, poisson=arg.poisson)
        report.add(r | {"ratio": r["p99"] / r["p50"] if r["p50"] else None})


def system_calls(report, place, directory, arg):
    report.section("system calls of the supervisor", ("calls", "an event", 1))
    for function, title in (("once", "events: 1"), ("many", "events: 0")):
        for n in (1, 32):
            with bench.App(place, directory, "echo") as app:
                def run(seconds=2):
                    return seconds * app.load(function, title, flight=n, bytes=arg.bytes, seconds=seconds, warmup=0)["per_second"]

                run(1)
                bench.add_system_calls(report, f"{title}, {n} in flight", bench.system_calls(app, "sand-supervisord", run))


def echo(report, place, arg):
    functions = {"once": bench.native(), "many": bench.native(events=0), "python": bench.python(),
                 "big": bench.native(environment={"HEAP_MIB": "64"})}
    directory = bench.bundle(place, "echo", functions)
    most = {}
    report.section("raw relay, 32 in flight", RATE, P50, P99)
    relays(report, place, arg, [("raw", "raw relay")])
    for function, title, floor in (("once", "events: 1, a fresh process each", fork_loop), ("many", "events: 0", sdbus_relays)):
        with bench.App(place, directory, "echo") as app:
            most[function] = closed_loop(report, app, arg, function, title, floor)
        with bench.App(place, directory, "echo") as app:
            open_loop(report, app, arg, function, title, most[function])
    with bench.App(place, directory, "echo") as app:
        others(report, app, arg, most["once"])
    if not arg.no_strace:
        system_calls(report, place, directory, arg)


def others(report, app, arg, once):
    """By the load that a function in C takes, and by its latency when there is little of it."""
    kinds = (("once", "C"), ("python", "Python, `return event`, json and PIL loaded"), ("big", "C with 64 MiB of heap"))
    report.section("events: 1, 4 in flight", RATE, P50, P99, ("ratio", "of C's most", 2))
    for function, title in kinds:
        r = app.load(function, title, flight=4, bytes=arg.bytes, seconds=arg.seconds)
        report.add(r | {"ratio": r["per_second"] / once})
    report.section("events: 1, open loop, 300/s", RATE, P50, P99, ("over", "p50 over C", 1))
    first = None
    for function, title in kinds:
        r = app.load(function, title, rate=300, bytes=arg.bytes, seconds=arg.seconds)
        first = first or r
        report.add(r | {"over": r["p50"] - first["p50"]})


def fork_by_memory(report, arg):
    report.section("fork + _exit + wait against the worker's memory", RATE, ("mean", "mean us", 1),
                   ("resident_mib", "RSS MiB", 1),
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
            with bench.App(place, directory, f"chains{compute}", env=env) as app:
                r = app.load("c1", f"3 x {compute} us, {title}", flight=8, bytes=64, seconds=arg.seconds)
            unplaced = unplaced or r
            report.add(r | {"ratio": r["per_second"] / unplaced["per_second"], "ceiling_ratio": r["per_second"] / ceiling})


def main():
    p = bench.parser(__doc__)
    p.add_argument("--bytes", type=int, default=1024)
    p.add_argument("--seconds", type=int, default=3, help="of each measurement")
    p.add_argument("--poisson", action="store_true", help="open loop: at random instead of evenly spaced")
    p.add_argument("--compute", type=int, nargs="*", default=[300, 2000], help="microseconds of each function of the chains")
    p.add_argument("--no-strace", action="store_true", help="do not count system calls")
    p.add_argument("--peers", action="store_true", help="and the table of tests/bench/peers")
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
    if arg.peers:
        arg.events = 5000
        bench_peers.add(report, place, arg)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

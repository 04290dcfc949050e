# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a function waits for another function of its application, beside the floors of the same run.

A C function calls a chain of functions, through the supervisor: chain 1 is one callee, which answers with its event;
of chain 4 each but the last calls the next with what it got, and answers with what that answers. Ratios: p50 and p99
to those of the raw three-party relay on one CPU, for each hop of the chain. By default one thing at a time is varied from
C, a fresh process for each event, 1 KiB, chain 1, 500 chains a second; with any of the lists, all combinations of them.

--syscalls counts, in a run of its own, what supervisor, callers and callees ask of the kernel.
--crossing finds from which size a sealed memfd beats an inline body, and compares with the same way made by hand."""

import collections
import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import time

import bench

HOPS_MAX = 8
BASE = {"runtime": "c", "events": 1, "size": 1024, "length": 1, "rate": 500}
VARIED = {"length": (2, 4, 8), "size": (0, 16 << 10, 256 << 10, 4 << 20), "rate": (2000,), "events": (0,),
          "runtime": ("python",)}
# And what is not on a line with the base.
MORE = [{"length": 4, "size": 4 << 20}, {"length": 8, "rate": 2000}, {"events": 0, "rate": 2000}, {"events": 0, "length": 8},
        {"runtime": "python", "events": 0}, {"runtime": "python", "length": 4}]
MODULE = """import json
import os
import PIL.Image

NEXT = os.environ.get("NEXT")


def handle(event, context):
    return event


def hop(event, context):
    return context.call(NEXT, event)
"""
P50, P99 = ("p50", "p50 us", 1), ("p99", "p99 us", 1)
TICK = 1e6 / os.sysconf("SC_CLK_TCK")


def numbers(text):
    units = {"K": 1 << 10, "M": 1 << 20}
    return [int(t[:-1]) * units[t[-1]] if t[-1] in units else int(t) for t in text.split(",")]


def size_name(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def name_of(case):
    fresh = "a fresh process each" if case["events"] == 1 else "processes that stay"
    return (f"{case['runtime']}, {fresh}, {size_name(case['size'])}, chain {case['length']}, {case['rate']}/s")


def cases_of(arg):
    chosen = {key: getattr(arg, key) for key in BASE if getattr(arg, key) is not None}
    if not chosen:
        return [BASE] + [BASE | {key: value} for key, values in VARIED.items() for value in values] + \
               [BASE | more for more in MORE]
    cases = [{}]
    for key, value in BASE.items():
        cases = [case | {key: v} for case in cases for v in chosen.get(key, [value])]
    return cases


@contextlib.contextmanager
def programs(place, way):
    """The product as it is, or with the worker of a way: they find each other beside them."""
    build = bench.BUILD
    if way:
        directory = place.path(f"programs-{way}")
        os.makedirs(f"{directory}/tests/bench")
        for program in ("sandctl", "sand-supervisord", "sand-gatewayd"):
            shutil.copy(os.path.join(build, "../..", program), directory)
        shutil.copy(bench.program(f"sand-worker-native-{way}"), f"{directory}/sand-worker-native")
        bench.BUILD = f"{directory}/tests/bench"
    try:
        yield
    finally:
        bench.BUILD = build


class Chains(bench.App):
    """`start` and the functions hop1 (which echoes) to hop8."""

    def __init__(self, place, runtime, events, way=None):
        functions = {"start": native("start", {})}
        for i in range(1, HOPS_MAX + 1):
            more = {"NEXT": f"hop{i - 1}"} if i > 1 else {}
            instances = {"events": events, "max": 16}
            if runtime == "c":
                functions[f"hop{i}"] = native("hop", more) | {"instances": instances}
            else:
                functions[f"hop{i}"] = {"runtime": "python3", "handler": "handler.hop" if more else "handler.handle",
                                        "environment": more, "instances": instances}
        name = f"{runtime}-{events}-{way or 'product'}"
        directory = bench.bundle(place, name, functions)
        shutil.copy(bench.program("bench-functions.so"), directory)
        place.write(f"{name}/handler.py", MODULE)
        with programs(place, way):
            super().__init__(place, directory, name)

    def chain(self, length, size, rate, count, times=1):
        return bench.row([bench.program("chain"), self.socket, f"hop{length}", size, times, rate, count])

    def workers(self):
        """Their process ids, by function."""
        found = {}
        supervisor = self.pid("sand-supervisord")
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as f, open(path.replace("environ", "stat")) as stat:
                    name = re.search(rb"SAND_FUNCTION=([^\0]*)", f.read())
                    if name and int(stat.read().rsplit(")", 1)[1].split()[1]) == supervisor:
                        found.setdefault(name[1].decode(), int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def cpu_usec(self):
        """Of the supervisor, its workers and all instances that were reaped."""
        total = 0
        supervisor = self.pid("sand-supervisord")
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(path.split("/")[2]) == supervisor:
                total += sum(int(n) for n in fields[11:15])
            elif int(fields[1]) == supervisor:
                total += sum(int(n) for n in fields[11:13])
        return total * TICK


def native(symbol, environment):
    return {"runtime": "native", "handler": f"bench-functions.so:{symbol}", "environment": environment}


def floors(report, sizes, count):
    """The relay's row of each size."""
    relay = {}
    report.section("floors", P50, P99)
    for size in sizes:
        n = max(20, min(count, (64 << 20) // (size + 1)))
        for row in bench.rows([bench.program("floors"), size, n]):
            name = row["name"]
            report.add(row | {"name": f"{name}, {size_name(size)}", "bytes": size})
            if name == "raw three-party relay, one CPU":
                relay[size] = row
    return relay


def latencies(report, place, arg):
    cases = cases_of(arg)
    relay = floors(report, sorted({case["size"] for case in cases}), arg.chains)
    report.section("function calls function", P50, P99, ("ratio", "p50/floor", 2), ("ratio_p99", "p99/floor", 2),
                   ("of_chain_1", "of chain 1", 2), ("cpu", "CPU us", 0))
    apps, first = {}, {}
    for case in cases:
        key = case["runtime"], case["events"]
        if key not in apps:
            apps[key] = Chains(place, *key)
        app, count = apps[key], arg.chains
        if case["size"] >= 1 << 20:
            count = max(20, count // 10)
        app.chain(case["length"], case["size"], case["rate"], max(20, count // 5)) # the pools fill
        before = app.cpu_usec()
        row = app.chain(case["length"], case["size"], case["rate"], count)
        row["cpu"] = (app.cpu_usec() - before) / count
        floor = relay[case["size"]]
        row["ratio"] = row["p50"] / floor["p50"] / case["length"]
        row["ratio_p99"] = row["p99"] / floor["p99"] / case["length"]
        same = tuple(value for key, value in case.items() if key != "length")
        if case["length"] == 1:
            first[same] = row["p50"]
        if same in first:
            row["of_chain_1"] = row["p50"] / first[same]
        report.add(row | case | {"name": name_of(case)})
    for app in apps.values():
        place.stop(app.process)


# System calls

LINE = re.compile(r"^(?:[\d.]+ )?(\w+)\((.*)")


def traced(app, run):
    """What each process asked for while run() ran: {process id: [(call, rest of the line)]}."""
    prefix = app.place.path("calls")
    for path in glob.glob(prefix + ".*"):
        os.unlink(path)
    pids = [app.pid("sand-supervisord"), *app.workers().values()]
    argv = ["strace", "-ff", "-q", "-o", prefix] + [a for pid in pids for a in ("-p", str(pid))]
    strace = app.place.start(argv, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    run()
    time.sleep(0.5)
    strace.send_signal(signal.SIGINT)
    strace.wait()
    app.place.processes.remove(strace)
    found = {}
    for path in glob.glob(prefix + ".*"):
        with open(path, errors="replace") as f:
            found[int(path.rsplit(".", 1)[1])] = [m.groups() for m in map(LINE.match, f) if m]
    return found


def serving(calls):
    """Of an instance: what it asked for between Ready, the first that it sent, and its last message, its answer."""
    sent = [i for i, (call, _) in enumerate(calls) if call == "sendmsg"]
    return calls[sent[0] + 1:sent[-1] + 1] if len(sent) > 1 else []


def add_counts(report, name, counters):
    total = collections.Counter()
    for counter in counters:
        total.update(counter)
    n = max(1, len(counters))
    counts = {call: count / n for call, count in total.items() if count / n >= 0.05}
    counts = dict(sorted(counts.items(), key=lambda item: -item[1]))
    report.add({"name": name, "calls": sum(counts.values()), "by_name": counts})
    report.note("    " + ", ".join(f"{call} {count:.1f}" for call, count in counts.items()))


def system_calls(report, place, arg):
    report.section("system calls, fresh process each event, 1 KiB", ("calls", "calls", 1))
    app, count, supervisor = Chains(place, "c", 1), 100, {}
    app.chain(4, 1024, 200, 200)
    for length in (1, 4):
        app.chain(length, 1024, 200, 100)
        workers = {pid: name for name, pid in app.workers().items()}
        found = traced(app, lambda: app.chain(length, 1024, 100, count))
        supervisor[length] = collections.Counter(call for call, _ in found[app.pid("sand-supervisord")])
        if length > 1:
            continue
        owner = {}
        for pid, name in workers.items():
            for call, rest in found.get(pid, []):
                if call == "clone" and "= " in rest:
                    owner[int(rest.rsplit("= ", 1)[1].split()[0])] = name
        for title, name in (("caller, from the event to its answer", "start"), ("callee, from the event to its answer", "hop1")):
            served = [serving(calls) for pid, calls in found.items() if owner.get(pid) == name]
            add_counts(report, title, [collections.Counter(call for call, _ in calls) for calls in served if calls])
        whole = [collections.Counter(call for call, _ in calls) for pid, calls in found.items() if owner.get(pid) == "hop1"]
        add_counts(report, "callee, its whole life", [counter for counter in whole if counter["sendmsg"] > 1])
    hop = {call: (supervisor[4][call] - supervisor[1][call]) / 3 / count for call in supervisor[4]}
    add_counts(report, "supervisor, a hop more (with its instance's making and end)", [hop])
    place.stop(app.process)


# Where a memfd begins to pay

PATHS = (("one hop", 1, 1), ("chain of 4", 4, 1), ("fan-out to 8, one after another", 1, 8))
SIZES = [1 << n for n in range(12, 23)]


def crossing(report, place, arg):
    ways = {way: Chains(place, "c", 1, way) for way in ("inline", "memfd")}
    found = {}
    for title, length, times in PATHS:
        report.section(f"{title}, through the supervisor", ("inline", "inline us", 1), ("memfd", "memfd us", 1),
                       ("ratio", "memfd/inline", 2))
        at = None
        for size in arg.size or SIZES:
            best = {}
            for turn in range(3): # in turn: what else runs here disturbs both alike
                for way, app in ways.items():
                    p50 = app.chain(length, size, 500, max(20, arg.chains // 20), times)["p50"]
                    best[way] = min(p50, best.get(way, p50))
            ratio = best["memfd"] / best["inline"]
            report.add({"name": size_name(size), "bytes": size, "ratio": ratio} | best)
            at = (at or size) if ratio <= 1 else None
        found[title] = at
        report.note(f"a memfd is not slower from {size_name(at) if at else 'no size measured'} on")
    for app in ways.values():
        place.stop(app.process)
    by_hand(report, place, arg, 4 << 20, 4)


def by_hand(report, place, arg, size, length):
    """The same way without a supervisor and fresh processes, and ours, in turn."""
    report.section(f"{size_name(size)} through a chain of {length}", P50, P99, ("ratio", "of the best", 2))
    app = Chains(place, "c", 1)
    best, ours = {}, None
    with huge_pages():
        for turn in range(3):
            for row in bench.rows([bench.program("floors"), size, 30, length]):
                if row["name"] not in best or row["p50"] < best[row["name"]]["p50"]:
                    best[row["name"]] = row
            row = app.chain(length, size, 500, 30)
            ours = row if not ours or row["p50"] < ours["p50"] else ours
    least = min(row["p50"] for name, row in best.items() if "hugetlb" not in name)
    for name, row in best.items():
        report.add(row | {"name": f"by hand, {name}", "ratio": row["p50"] / least})
    report.add(ours | {"name": "functions", "ratio": ours["p50"] / least})
    place.stop(app.process)


class huge_pages:
    """A few of hugetlbfs for the while, if the kernel finds them."""

    PATH = "/proc/sys/vm/nr_hugepages"

    def __enter__(self):
        with open(self.PATH) as f:
            self.before = f.read()
        self.write(str(int(self.before) + 8))

    def __exit__(self, *_):
        self.write(self.before)

    def write(self, text):
        try:
            with open(self.PATH, "w") as f:
                f.write(text)
        except OSError:
            pass


def main():
    parser = bench.parser(__doc__)
    parser.add_argument("--chains", type=int, default=1000, help="chains a row (1000)")
    parser.add_argument("--length", type=numbers, help="functions in the chain: 1,2,4,8")
    parser.add_argument("--size", type=numbers, help="bytes of the payload: 0,1K,16K,256K,4M")
    parser.add_argument("--rate", type=numbers, help="chains a second: 500,2000")
    parser.add_argument("--events", type=numbers, help="of an instance: 1,0 (1: a fresh process each; 0: no limit)")
    parser.add_argument("--runtime", type=lambda text: text.split(","), help="of the chain: c,python")
    parser.add_argument("--syscalls", action="store_true", help="count system calls instead")
    parser.add_argument("--crossing", action="store_true", help="inline against memfd instead")
    parser.add_argument("--real-time", action="store_true",
                        help="all that is measured runs before everything else on this machine: for a busy one")
    arg = parser.parse_args()
    if arg.length and not all(1 <= n <= HOPS_MAX for n in arg.length):
        parser.error(f"--length: 1 to {HOPS_MAX}")
    if arg.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    report = bench.Report("local", arg.json, chains_a_row=arg.chains, real_time="yes" if arg.real_time else "no")
    place = bench.Place()
    if arg.syscalls:
        system_calls(report, place, arg)
    elif arg.crossing:
        crossing(report, place, arg)
    else:
        latencies(report, place, arg)
    report.end()


main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What SAND keeps in memory: proportional set sizes (a shared page counts by its share), MiB, in a throw-away host
where nothing else runs. One application with a function of each runtime; the same number of C functions as one application
and as a machine each; and whether the supervisor grows with the events that it has passed on."""

import glob
import json
import os
import subprocess
import sys

import bench

WARM = 4


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def pss(pid):
    """MiB. 0: it has gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def inner_pid(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[-1]) for line in f if line.startswith("NSpid:"))


def function_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as f:
        return next((v[14:].decode() for v in f.read().split(b"\0") if v.startswith(b"SAND_FUNCTION=")), None)


def descendants(pid):
    for entry in glob.glob(f"/proc/{pid}/task/*/children"):
        for child in open(entry).read().split():
            yield int(child)
            yield from descendants(int(child))


def machine(app):
    """Its processes: (kind, function, pid) with the kinds nspawn, supervisor, worker, instance."""
    nspawn = int(output("systemctl", "show", "-P", "MainPID", f"sand-app@{app}.service"))
    inside = namespace(int(output("machinectl", "show", app, "-p", "Leader", "--value")))
    state = json.loads(output("sandctl", "status", app, "--json=short"))
    workers = {w["pid"] for f in state["supervisor"]["functions"] for w in f["workers"]}
    found = [("nspawn", None, nspawn)]
    for pid in descendants(nspawn):
        if namespace(pid) != inside:
            found.append(("nspawn", None, pid))
        elif inner_pid(pid) == 1:
            found.append(("supervisor", None, pid))
        else:
            found.append(("worker" if inner_pid(pid) in workers else "instance", function_of(pid), pid))
    return found


def supervisor(app):
    return next(pid for kind, _, pid in machine(app) if kind == "supervisor")


def settle(app, instances):
    """Once so many wait."""
    bench.wait_for(f"{instances} waiting instances of {app}",
                   lambda: sum(kind == "instance" for kind, *_ in machine(app)) == instances, 30)


def deploy(place, name, functions):
    # What `exec` runs is a program.
    directory = bench.bundle(place, name, functions)
    os.makedirs(f"{directory}/bin", exist_ok=True)
    place.write(f"{name}/bin/echo", "#!/bin/sh\nexec cat\n")
    os.chmod(f"{directory}/bin/echo", 0o755)
    output("sandctl", "deploy", "-q", directory)


def call(app, function):
    output("curl", "-fsS", "-H", "Content-Type: application/octet-stream", "-d", "x",
           f"http://127.0.0.1:8080/invoke/{app}/{function}")


def stop(app):
    subprocess.run(["systemctl", "stop", f"sand-app@{app}.service"], stderr=subprocess.DEVNULL, check=True)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def parts(report, place):
    functions = {"native": bench.native(warm=WARM), "python": bench.python(warm=WARM),
                 "exec": {"runtime": "exec", "handler": ["bin/echo"], "instances": {"warm": WARM}}}
    deploy(place, "parts", functions)
    for function in functions:
        call("parts", function)
    settle("parts", WARM * len(functions))
    found = machine("parts")
    report.section(f"one application, a function of each runtime, {WARM} waiting instances each", ("pss", "PSS MiB", 2),
                   ("processes", "processes", 0))
    kinds = [("supervisor", None), ("nspawn", None)] + [(k, f) for f in functions for k in ("worker", "instance")]
    for kind, function in kinds:
        sizes = [pss(pid) for k, f, pid in found if (k, f) == (kind, function)]
        name = {"worker": f"worker, {function}", "instance": f"a waiting instance, {function}"}.get(kind, kind)
        report.add({"name": name, "pss": mean(sizes), "processes": len(sizes)})
    gateway = int(output("systemctl", "show", "-P", "MainPID", "sand-gatewayd.service"))
    report.add({"name": "gateway", "pss": pss(gateway), "processes": 1})
    report.add({"name": "the machine, all of it", "pss": sum(pss(pid) for *_, pid in found), "processes": len(found)})
    stop("parts")


def total(apps):
    found = [pid for app in apps for *_, pid in machine(app)]
    return sum(pss(pid) for pid in found), len(found)


def machines(report, place, n):
    report.section(f"{n} C functions, one waiting instance each", ("pss", "PSS MiB", 2), ("per_function", "a function", 2),
                   ("processes", "processes", 0), ("ratio", "of one app", 2))
    deploy(place, "together", {f"f{i}": bench.native(warm=1) for i in range(n)})
    for i in range(n):
        deploy(place, f"alone{i}", {"f": bench.native(warm=1)})
    first = None
    for name, apps, functions in (("one application", ["together"], [f"f{i}" for i in range(n)]),
                                  ("a machine for each function", [f"alone{i}" for i in range(n)], ["f"])):
        for app in apps:
            for function in functions:
                call(app, function)
        for app in apps:
            settle(app, len(functions))
        size, processes = total(apps)
        first = first or size
        report.add({"name": name, "pss": size, "per_function": size / n, "processes": processes, "ratio": size / first})
        for app in apps:
            stop(app)


def growth(report, place, events):
    report.section("the supervisor after events, a fresh process each, 1024 bytes", ("events", "events", 0),
                   ("pss", "PSS MiB", 3), ("growth", "KiB since", 0), ("per_second", "events/s", 0))
    deploy(place, "growth", {"once": bench.native()})
    call("growth", "once")
    done, first, step = 0, None, max(1, events // 10)
    while done < events:
        target = min(events, done + step) if done else min(events, 2000)
        while done < target:
            r = bench.load("invoke", "/run/sand/app/growth.sock", "once", function="once", flight=4, seconds=1, warmup=0,
                           bytes=1024)
            done += int(r["per_second"])
        size = pss(supervisor("growth"))
        first = first or size
        report.add({"name": f"{done} events", "events": done, "pss": size, "growth": (size - first) * 1024,
                    "per_second": r["per_second"]})


def main():
    p = bench.parser(__doc__)
    p.add_argument("--events", type=int, default=100000, help="for the supervisor's growth (100000; the goal is 1000000)")
    p.add_argument("--functions", type=int, default=5, help="as one application and as a machine each")
    arg = p.parse_args()
    report = bench.Report("memory", arg.json, events=arg.events)
    place = bench.Place()
    parts(report, place)
    machines(report, place, arg.functions)
    growth(report, place, arg.events)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

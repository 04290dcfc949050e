# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a fresh process costs, against the memory of the worker that it is forked from.

A real worker forks one instance after another that gets no event: the Fork call until the instance is ready, then the
end of its channel until it is reaped. Beside it a bare loop of fork, _exit and wait by a process with the same memory,
without what the worker does about it (daemons/workers/pages.h). All on one CPU, in real time, so that what else runs
on the machine is not measured. The ratio is to the worker of 3 MiB."""

import os

import bench

SMALL = 2  # MiB of heap; about 3 with what every worker has
COLUMNS = (("resident_mib", "RSS MiB", 1), ("huge_mib", "huge MiB", 0), ("fork", "fork us", 0), ("ready", "ready us", 0),
           ("exit", "exit us", 0), ("total", "total us", 0), ("ratio", "ratio", 2), ("cpu", "CPU us", 0), ("faults", "faults", 0))
PYTHON_LOOP = """
import json, os, sys, time
if sys.argv[1] == "1":
    import PIL.Image
times = []
while sum(times) < 0.5:
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    times.append(time.monotonic() - begin)
print(json.dumps({"name": "", "total": sorted(times)[len(times) // 2] * 1e6}))
"""
MODULES = {"plain": "", "json and PIL": "import json\nimport PIL.Image\n\n\n"}


def quietly(argv):
    """On one CPU, before everything else."""
    return ["chrt", "-f", "5", "taskset", "-c", str(max(os.sched_getaffinity(0)))] + argv


def worker(report, name, program, handler, base, arg, env=None):
    path = os.path.realpath(os.path.join(bench.BUILD, "../..", program))
    r = bench.row(quietly([bench.program("forks"), path, handler, str(arg.count)]), env=env, name=name)
    return report.add(r | {"ratio": r["total"] / base["total"] if base else 1})


def main():
    parser = bench.parser(__doc__)
    parser.add_argument("--count", type=int, default=300, help="instances a row (300)")
    parser.add_argument("--heaps", default="0,32,64,128", help="MiB of heap, comma-separated (0,32,64,128)")
    arg = parser.parse_args()
    heaps = [int(h) for h in arg.heaps.split(",")]
    functions = bench.program("bench-functions.so")
    report = bench.Report("forks", arg.json, instances_a_row=arg.count)

    report.section("sand-worker-native", *COLUMNS)
    env = {"HEAP_MIB": str(SMALL)}
    base = worker(report, f"heap of {SMALL} MiB in pieces of 1 kB", "sand-worker-native", f"{functions}:hop", None, arg, env)
    for mib in heaps:
        worker(report, f"heap of {mib} MiB in pieces of 1 kB", "sand-worker-native", f"{functions}:hop", base, arg,
               {"HEAP_MIB": str(mib)})
    for mib in (h for h in heaps if h):
        worker(report, f"heap of {mib} MiB in one piece", "sand-worker-native", f"{functions}:hop", base, arg,
               {"HEAP_MIB": str(mib), "HEAP_PIECE": str(mib << 20)})

    report.section("fork + _exit + wait, the same memory, nothing done about it", ("resident_mib", "RSS MiB", 1),
                   ("total", "total us", 0))
    for mib in sorted({SMALL, *heaps}):
        r = bench.row(quietly([bench.program("fork-floor"), functions, "1"]), env={"HEAP_MIB": str(mib)},
                      name=f"heap of {mib} MiB in pieces of 1 kB")
        report.add(r | {"total": r["mean"]})

    place = bench.Place()
    report.section("sand-worker-python", *COLUMNS)
    for title, imports in MODULES.items():
        place.write("handler.py", f"{imports}def handle(event, context):\n    return event\n")
        os.chdir(place.dir)
        worker(report, title, "sand-worker-python", "handler.handle", base, arg)
    report.section("python3: os.fork, os._exit, os.waitpid", ("total", "total us", 0))
    for title, imports in MODULES.items():
        report.add(bench.row(quietly(["/usr/bin/python3", "-c", PYTHON_LOOP, "1" if imports else "0"]), name=title))
    report.end()


main()

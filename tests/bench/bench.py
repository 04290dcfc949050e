# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmarks' drivers share: a place to work in, processes that end with it, an application of ours, and the
report as a table or as JSON. What is timed is timed by the C programs beside this; they print a line of JSON a row."""

import argparse
import atexit
import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("SAND_BENCH_BUILD", "")
PR_SET_PDEATHSIG = 1


def program(name):
    return os.path.join(BUILD, name)


def parser(description):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return p


class Report:
    """Sections of rows. A column is (key, heading, number of decimals)."""

    def __init__(self, name, json_wanted, **facts):
        self.name, self.json, self.facts, self.sections = name, json_wanted, facts, []
        if not json_wanted:
            print(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()))

    def section(self, title, *columns):
        self.sections.append({"title": title, "rows": []})
        self.columns = columns
        if not self.json:
            heads = "".join(f"{head:>{max(10, len(head) + 2)}}" for _, head, _ in columns)
            print(f"\n{title}\n{'':<56}{heads}", flush=True)

    def add(self, row):
        self.sections[-1]["rows"].append(row)
        if not self.json:
            cells = ""
            for key, head, digits in self.columns:
                value = row.get(key)
                text = "" if value is None else f"{value:.{digits}f}"
                cells += f"{text:>{max(10, len(head) + 2)}}"
            print(f"  {row['name']:<54}{cells}", flush=True)
        return row

    def note(self, text):
        self.sections[-1].setdefault("notes", []).append(text)
        if not self.json:
            print(f"  {text}", flush=True)

    def end(self):
        if self.json:
            print(json.dumps({"bench": self.name} | self.facts | {"sections": self.sections}, indent=1))


class Place:
    """A directory, and processes that work in it. Both are gone when the program ends."""

    def __init__(self, where="/tmp"):
        self.dir = tempfile.mkdtemp(prefix="sand-bench-", dir=where)
        os.chmod(self.dir, 0o755)
        self.processes = []
        atexit.register(self.clean_up)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def start(self, argv, cpu=None, env=None, **options):
        p = subprocess.Popen(argv, preexec_fn=lambda: child(cpu), env=os.environ | (env or {}),
                             stdin=subprocess.DEVNULL, start_new_session=True, **({"stdout": subprocess.DEVNULL} | options))
        self.processes.append(p)
        return p

    def stop(self, p):
        """With what it has started: fcgiwrap's processes do not end with the first of them."""
        signal_group(p, signal.SIGTERM)
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            signal_group(p, signal.SIGKILL)
            p.wait()
        self.processes.remove(p)

    def clean_up(self):
        for p in reversed(list(self.processes)):
            self.stop(p)
        shutil.rmtree(self.dir, ignore_errors=True)


def signal_group(p, number):
    try:
        os.killpg(p.pid, number)
    except ProcessLookupError:
        pass


def child(cpu):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def rows(argv, cpu=None, env=None):
    """The rows that a program of ours prints."""
    p = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, text=True, preexec_fn=lambda: child(cpu),
                       env=os.environ | (env or {}))
    if p.returncode != 0:
        sys.exit(f"{' '.join(str(a) for a in argv)}: status {p.returncode}")
    return [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]


def row(argv, cpu=None, env=None, **more):
    return rows(argv, cpu, env)[-1] | more


def wait_for(what, test, seconds=10):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            sys.exit(f"{what} does not come up")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def connects(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


def load(protocol, path, name, cpu=None, **options):
    """One run of the caller: load(..., flight=32, bytes=1024)."""
    argv = [program("load"), protocol, path, "--name", name]
    for key, value in options.items():
        if value is not None and value is not False:
            argv += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    found = row(argv, cpu)
    if found["failed"] or found["lost"]:
        print(f"{name}: {found['failed']:.0f} calls failed, {found['lost']:.0f} lost", file=sys.stderr)
    return found


def relay(place, kind, name, hub=None, callee=None, caller=None, **options):
    """The bare relay of three processes under the same caller."""
    argv = [program("relay"), kind, place.path("relay.sock")]
    argv += ["--hub-cpu", str(hub)] if hub is not None else []
    argv += ["--callee-cpu", str(callee)] if callee is not None else []
    p = place.start(argv)
    found = load("raw" if kind == "raw" else "echo", place.path("relay.sock"), name, cpu=caller, **options)
    p.wait()
    place.processes.remove(p)
    return found


def command(pid):
    """A process's name as the kernel has it, cut at 15 characters."""
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return "?"


ECHO_PY = """import json  # noqa: F401: what most functions have loaded
from PIL import Image  # noqa: F401


def handle(event, context):
    return event


def answer(event, context):
    return {"statusCode": 200, "body": "hello"}
"""


def native(symbol="echo", environment=None, **instances):
    return {"runtime": "native", "handler": f"load-functions.so:{symbol}", "instances": instances,
            "environment": environment or {}}


def python(function="handle", **instances):
    return {"runtime": "python3", "handler": f"echo.{function}", "instances": instances}


def bundle(place, name, functions, module=ECHO_PY, triggers=()):
    """A directory to be deployed or run, with load-functions.so and echo.py in it."""
    place.write(f"{name}/sand.json", json.dumps({"name": name, "functions": functions, "triggers": list(triggers)}))
    place.write(f"{name}/echo.py", module)
    shutil.copy(program("load-functions.so"), place.path(name))
    return place.path(name)


class App:
    """An application by `sandctl run`: supervisor and gateway as a developer has them, without systemd and a machine.
    Events are served as in one; what is absent is what a machine costs when it starts."""

    def __init__(self, place, directory, name, env=None):
        self.place, self.name = place, name
        tmp = tempfile.mkdtemp(dir=place.dir)
        port = free_port()
        self.port = port
        self.process = place.start([os.path.join(BUILD, "../../sandctl"), "run", directory, f"--listen=127.0.0.1:{port}"],
                                   env={"TMPDIR": tmp, "SAND_LOG_LEVEL": "warning"} | (env or {}),
                                   stderr=open(place.path(f"{name}.log"), "a"))
        wait_for(name, lambda: answers(port) and glob.glob(f"{tmp}/sand-run-*/app/{name}.sock"))
        self.socket = glob.glob(f"{tmp}/sand-run-*/app/{name}.sock")[0]

    def pid(self, program_name):
        """Of the supervisor or the gateway."""
        found = []

        def look():
            for entry in glob.glob(f"/proc/{self.process.pid}/task/*/children"):
                found.extend(int(p) for p in open(entry).read().split() if program_name.startswith(command(p)))
            return found

        wait_for(program_name, look)
        return found[0]

    def load(self, function, name, **options):
        return load("invoke", self.socket, name, function=function, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.place.stop(self.process)


def system_calls(app, program_name, run):
    """What supervisor or gateway ask of the kernel for one event: {name: calls}. run() returns how many events there were.
    strace makes them slower, and what it counts hardly different."""
    table = app.place.path("strace")
    strace = app.place.start(["strace", "-c", "-f", "-q", "-o", table, "-p", str(app.pid(program_name))], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    events = run()
    strace.send_signal(signal.SIGINT)
    strace.wait()
    app.place.processes.remove(strace)
    with open(table) as f:
        lines = [line.split() for line in f]
    return {line[-1]: int(line[3]) / events for line in lines
            if len(line) >= 5 and line[3].isdigit() and line[-1] != "total"}


def add_system_calls(report, name, counts):
    report.add({"name": name, "calls": sum(counts.values()), "by_name": counts})
    most = sorted(counts.items(), key=lambda item: -item[1])[:8]
    report.note("    " + ", ".join(f"{name} {count:.1f}" for name, count in most))

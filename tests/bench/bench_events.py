# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many events a second are accepted, and at which latency: sand-globald's Send, beside floors and a peer on the same
disk in the same run, each with 1, 16 and 128 producers that wait for their answer.

The floors: write + fdatasync, and bare SQLite with all that is in flight in one transaction. The peer: JetStream of
nats-server, twice: as it comes it answers before its data is on disk (a power cut takes what was acknowledged), and
with its directory made synchronous (chattr +S) it promises what globald does. In a throw-away host with the packages;
the events are due in five hours, so that accepting them is all there is to do.

--backlog N fills the log first: the rate beside that of the empty log, memory, and start-up with that log."""

import array
import fcntl
import os
import shutil
import subprocess
import sys
import time

import bench

SOCKET = "/run/sand/globald/socket"
UNIT = "sand-globald.service"
FLIGHTS = (1, 16, 128)
DELAY = 5 * 3600
COLUMNS = (("per_second", "events/s", 0), ("p50", "p50 us", 1), ("p99", "p99 us", 1), ("ratio", "of SQLite", 2))
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_SYNC_FL = 0x80086601, 0x40086602, 8


def events(kind, address, name, **options):
    argv = [bench.program("events"), kind, address, "--name", name]
    for key, value in options.items():
        argv += [f"--{key}", str(value)]
    found = bench.row(argv)
    if found["refused"]:
        print(f"{name}: {found['refused']:.0f} events were refused", file=sys.stderr)
    return found


def floor(place, kind, name, **options):
    """In a file of its own, which is gone afterwards."""
    directory = place.path("floor")
    os.mkdir(directory)
    found = events(kind, os.path.join(directory, "file"), name, **options)
    shutil.rmtree(directory)
    return found


def make_synchronous(directory):
    """chattr +S. False: this file system cannot."""
    fd = os.open(directory, os.O_RDONLY)
    flags = array.array("l", [0])
    try:
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags, True)
        flags[0] |= FS_SYNC_FL
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, flags)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def jetstream(place, name, synchronous, **options):
    """None: the file system knows no synchronous directories."""
    store, port = place.path("jetstream"), bench.free_port()
    os.mkdir(store)
    found = None
    if not synchronous or make_synchronous(store):
        server = place.start(["nats-server", "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", store,
                              "--log", place.path("nats.log")])
        bench.wait_for("nats-server", lambda: bench.answers(port))
        found = events("jetstream", f"127.0.0.1:{port}", name, **options)
        place.stop(server)
    shutil.rmtree(store)
    return found


class Globald:
    """The service as it is installed. For bench.system_calls() it is an application with one program."""

    def __init__(self, place):
        self.place = place
        subprocess.run(["sandctl", "deploy", bench.bundle(place, "events", {"echo": bench.native()})], check=True,
                       stdout=subprocess.DEVNULL)

    def pid(self, *_):
        return int(subprocess.run(["systemctl", "show", "-P", "MainPID", UNIT], stdout=subprocess.PIPE, check=True).stdout)

    def accept(self, name, **options):
        return events("globald", SOCKET, name, **({"delay": DELAY} | options))

    def memory(self):
        """MiB: proportional set size now, resident set at its largest."""
        found = {}
        for name, key in (("smaps_rollup", "Pss:"), ("status", "VmHWM:")):
            with open(f"/proc/{self.pid()}/{name}") as f:
                found[key] = next(int(line.split()[1]) for line in f if line.startswith(key)) / 1024
        return found["Pss:"], found["VmHWM:"]

    def start_up(self):
        """Seconds from its first caller, who starts it, to the answer, the event on disk."""
        subprocess.run(["systemctl", "--quiet", "stop", UNIT], check=True, stderr=subprocess.DEVNULL)  # its sockets stay
        begin = time.monotonic()
        self.accept("start-up", count=1)
        return time.monotonic() - begin


def producers(report, place, globald, arg, n):
    options = {"flight": n, "bytes": arg.bytes, "seconds": arg.seconds}
    report.section(f"{n} producer{'s' if n > 1 else ''}", *COLUMNS)
    bare = floor(place, "sqlite", "floor: bare SQLite, WAL, synchronous=FULL", **options)

    def add(found):
        report.add(found | {"ratio": found["per_second"] / bare["per_second"]})
        return found["per_second"]

    add(floor(place, "write", "floor: write + fdatasync", **options))
    add(bare)
    ours = add(globald.accept("sand-globald", **options)) if globald else None
    same = jetstream(place, "JetStream, synchronous directory", True, **options)
    if same:
        add(same)
    else:
        report.note("no JetStream of equal durability: this file system has no chattr +S")
    add(jetstream(place, "JetStream as it comes: answers before it is on disk", False, **options))
    if same and ours:
        report.note(f"sand-globald accepts {ours / same['per_second']:.1f} times what JetStream does at equal durability")


def flushes(report, globald, arg):
    """What one producer's event costs in system calls that wait for the disk."""
    def run(seconds=2):
        return globald.accept("strace", seconds=seconds, warmup=0, bytes=arg.bytes)["accepted"]

    counts = bench.system_calls(globald, UNIT, run)
    disk = {name: n for name, n in counts.items() if "sync" in name}
    report.section("system calls of sand-globald, one producer", ("calls", "an event", 2))
    report.add({"name": "that flush the disk", "calls": sum(disk.values()), "by_name": disk})
    bench.add_system_calls(report, "all", counts)


def backlog(report, place, globald, arg):
    options = {"flight": 128, "bytes": arg.bytes, "seconds": arg.seconds}
    report.section(f"128 producers and a backlog of {arg.backlog}", *COLUMNS[:3], ("ratio", "of empty", 2))
    empty = globald.accept("an empty log", **options)
    report.add(empty | {"ratio": 1})
    globald.accept("filling", flight=128, bytes=arg.bytes, count=arg.backlog)
    full = globald.accept("with the backlog", **options)
    report.add(full | {"ratio": full["per_second"] / empty["per_second"]})
    pss, most = globald.memory()
    report.section("sand-globald with that log", ("value", "", 2))
    report.add({"name": "memory, PSS, MiB", "value": pss})
    report.add({"name": "memory, largest resident set, MiB", "value": most})
    report.add({"name": "start-up to its first answer, s", "value": globald.start_up()})
    report.add({"name": "memory behind that, PSS, MiB", "value": globald.memory()[0]})


def main():
    p = bench.parser(__doc__)
    p.add_argument("--bytes", type=int, default=1024)
    p.add_argument("--seconds", type=int, default=3, help="of each row")
    p.add_argument("--backlog", type=int, metavar="N", help="events that wait; a million take about 2 GB of disk")
    arg = p.parse_args()
    report = bench.Report("events", arg.json, bytes=arg.bytes, seconds=arg.seconds, cpus=os.cpu_count())
    place = bench.Place("/var/tmp")
    globald = Globald(place) if os.path.exists(SOCKET) else None
    if arg.backlog and not globald:
        sys.exit("there is no sand-globald here")
    if arg.backlog:
        backlog(report, place, globald, arg)
    else:
        for n in FLIGHTS:
            producers(report, place, globald, arg, n)
        if globald:
            flushes(report, globald, arg)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile HTTP: what it costs its neighbours and the gateway. An honest client asks a warm C function over HTTP, in an
open loop, each tenth time on a connection of its own; first alone, then beside each attack, which comes from another
address of the loopback network.

p99, times: of the honest client, against it alone in the same run. Control: the same while the attack is upon an nginx of the
same machine, for attacker and neighbours share its CPUs; times control: what is left for the gateway to answer for. CPU: the gateway's, of one. RSS: the most that the gateway had while it was under
attack, PSS at its end. Ended after: from an attacker's connection to its end by the gateway, the median; first words: the
status that most of them were told."""

import collections
import json
import os
import random
import resource
import select
import signal
import socket
import statistics
import sys
import time

import bench
import bench_peers

HIM = "127.0.0.2"
IP_BIND_ADDRESS_NO_PORT = 24 # ip(7)
HEAD = b"POST /invoke/echo/%s HTTP/1.1\r\nHost: x\r\n"
TICK = 0.01
MEGABYTE = 1 << 20


class Attacker:
    """Connections that are opened, fed and watched in ticks of 10 ms until somebody ends it."""

    def __init__(self, port):
        self.port, self.open, self.poll = port, {}, select.epoll()
        self.lives, self.words, self.refused = [], collections.Counter(), 0

    def connect(self, window=None):
        s = socket.socket()
        if window:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1) # else there are 28,000 for both servers
        s.bind((HIM, 0))
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", self.port))
        self.open[s.fileno()] = (s, time.monotonic())
        self.poll.register(s.fileno(), select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLERR)
        return s

    def send(self, s, data):
        """How much of it went out."""
        try:
            return s.send(data)
        except (BlockingIOError, OSError):
            return 0

    def close(self, s):
        self.open.pop(s.fileno(), None)
        s.close()

    def watch(self, deaf=False):
        """What the gateway ended. Who is deaf looks at the end alone."""
        gone = []
        for fd, events in self.poll.poll(0):
            s, since = self.open[fd]
            try:
                data = b"x" if deaf and not events & (select.EPOLLHUP | select.EPOLLERR) else s.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data.startswith(b"HTTP/1.1 ") and not data.startswith((b"HTTP/1.1 100", b"HTTP/1.1 200")):
                self.words[int(data[9:12])] += 1
            if not data:
                self.lives.append(time.monotonic() - since)
                self.close(s)
                gone.append(s)
        return gone

    def report(self):
        return {"lives": self.lives[:100000], "words": dict(self.words)}


def keep(a, n, first=b"", each=None, window=None, again=True, deaf=False, at_once=200):
    """So many connections, each of which says something first, then a little each second."""
    mine = {}
    while True:
        for _ in range(min(at_once, n - len(mine))):
            if again or len(a.lives) + len(mine) < n:
                mine[a.connect(window)] = [first, time.monotonic() + random.random()]
        for s in a.watch(deaf):
            mine.pop(s, None)
        now = time.monotonic()
        for s, state in list(mine.items()):
            if state[0]:
                state[0] = state[0][a.send(s, state[0][:262144]):]
            elif each and state[1] < now:
                state[1] += 1
                a.send(s, each)
        yield


def strike(a, per_second, data, hold=0.5, half=False):
    """So many connections a second, each with this to say; a function: each time another thing."""
    held = collections.deque()
    due = 0.0
    while True:
        due += per_second * TICK
        while due >= 1:
            due -= 1
            held.append((time.monotonic(), a.connect(), data() if callable(data) else data))
        a.watch()
        for i, (since, s, said) in enumerate(held):
            if said and s.fileno() >= 0:
                left = said[a.send(s, said):]
                if not left and half:
                    try:
                        s.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                held[i] = (since, s, left)
        while held and time.monotonic() - held[0][0] > hold:
            s = held.popleft()[1]
            if s.fileno() >= 0:
                a.close(s)
        yield


def garbage():
    return random.randbytes(random.randint(1, 2000))


ATTACKS = {
    "idle": ("10,000 silent connections", lambda a: keep(a, 10000, again=False)),
    "idle-again": ("10,000 silent connections, made again", lambda a: keep(a, 10000, at_once=50)),
    "idle-later": ("10,000 connections, silent after one request", lambda a: keep(a, 10000, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                                                                                  again=False, at_once=50)),
    "header": ("2000 headers, a byte a second", lambda a: keep(a, 2000, HEAD % b"many", b"x")),
    "body": ("2000 bodies, a byte a second", lambda a: keep(a, 2000, HEAD % b"many" + b"Content-Length: 1000000\r\n\r\n", b"x")),
    "endless": ("headers without an end, 100 at a time", lambda a: keep(a, 100, HEAD % b"many" + b"X: y\r\n" * 40000, at_once=5)),
    "huge": ("header lines of 1 MiB, 100 a second", lambda a: strike(a, 100, HEAD % b"many" + b"X: " + b"y" * MEGABYTE)),
    "length": ("lengths of 20 GB, 500 a second", lambda a: strike(a, 500, HEAD % b"many" + b"Content-Length: 20000000000\r\n\r\nx")),
    "large": ("bodies of 8 MiB where 1 MiB is taken, 8 at a time", lambda a: keep(a, 8, HEAD % b"many" + b"Content-Length: 8388608\r\n\r\n" +
                                                                       b"x" * (8 * MEGABYTE), at_once=1)),
    "expect": ("the same, asked for before, 500 a second", lambda a: strike(
        a, 500, HEAD % b"many" + b"Content-Length: 8388608\r\nExpect: 100-continue\r\n\r\n")),
    "chunks": ("bodies without an end, 8 at a time", lambda a: keep(a, 8, HEAD % b"many" + b"Transfer-Encoding: chunked\r\n\r\n" +
                                                                   b"10000\r\n%s\r\n" % (b"x" * 65536) * 400, at_once=1)),
    "deaf": ("64 answers of 4 MiB, never taken", lambda a: keep(
        a, 64, HEAD % b"large" + b"Content-Length: 4194304\r\n\r\n" + b"x" * 4194304, window=4096, deaf=True, at_once=1)),
    "half": ("half a request and its end, 500 a second", lambda a: strike(a, 500, HEAD % b"many" + b"X", hold=60, half=True)),
    "flood": ("connections, 2000 a second", lambda a: strike(a, 2000, b"", hold=0.02)),
    "malformed": ("garbage, 1000 a second", lambda a: strike(a, 1000, garbage)),
    "smuggle": ("two lengths and chunks, 1000 a second", lambda a: strike(
        a, 1000, HEAD % b"many" + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
    "uploads": ("64 uploads of 16 MiB, each slow at its end", lambda a: keep(
        a, 64, HEAD % b"large" + b"Content-Length: 16777216\r\n\r\n" + b"x" * (16 * MEGABYTE - 60000), b"x" * 1500, at_once=1)),
}


def attack(port, plan, out):
    os.nice(19) # it would be on another machine
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    a = Attacker(port)
    ticks = plan(a)
    due = time.monotonic()
    while not stop:
        next(ticks)
        due = max(due + TICK, time.monotonic() - 0.1)
        time.sleep(max(0, due - time.monotonic()))
    with os.fdopen(out, "w") as f:
        json.dump(a.report(), f)
    os._exit(0)


def memory(pid):
    """RSS, its peak, and PSS, in MiB."""
    def field(name, file):
        with open(f"/proc/{pid}/{file}") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(name)) / 1024

    return field("VmHWM:", "status"), field("Pss:", "smaps_rollup")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def neighbour(app, name, seconds, rate):
    """The honest client's row, with what the gateway needed meanwhile."""
    pid = app.pid("sand-gatewayd")
    cpu, begin = cpu_seconds(pid), time.monotonic()
    found = bench.row([bench.program("http-load"), app.port, "/invoke/echo/many", "--name", name, "--seconds", seconds,
                       "--rate", rate])
    return found | {"cpu": 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - begin)}


def beside(app, title, plan, arg, port):
    """The neighbour's row beside an attack upon that port."""
    pid = app.pid("sand-gatewayd")
    with open(f"/proc/{pid}/clear_refs", "w") as f:
        f.write("5")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        attack(port, plan, write)
    os.close(write)
    time.sleep(arg.before)
    found = neighbour(app, title, arg.seconds, arg.rate)
    found["peak"], found["pss"] = memory(pid)
    time.sleep(arg.after if port == app.port else 0)
    os.kill(child, signal.SIGTERM)
    with os.fdopen(read) as f:
        told = json.load(f)
    os.waitpid(child, 0)
    found["dropped"] = len(told["lives"])
    if told["lives"]:
        found["ended_after"] = statistics.median(told["lives"])
    if told["words"]:
        found["status"] = int(max(told["words"], key=told["words"].get))
    return found


def main():
    p = bench.parser(__doc__ + "\n\nattacks: " + ", ".join(ATTACKS))
    p.add_argument("attacks", nargs="*", metavar="ATTACK", help="all by default")
    p.add_argument("--rate", type=int, default=500, help="the honest client's requests a second")
    p.add_argument("--seconds", type=int, default=5, help="for which it is measured")
    p.add_argument("--before", type=float, default=1, help="seconds of attack before")
    p.add_argument("--after", type=float, default=0, help="and after: 25 see the end of the slowest")
    arg = p.parse_args()
    unknown = set(arg.attacks) - set(ATTACKS)
    if unknown:
        p.error(f"no such attack: {', '.join(unknown)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))
    report = bench.Report("hostile", arg.json, seconds_each=arg.seconds, rate=arg.rate, cpus=os.cpu_count())
    place = bench.Place()
    functions = {"many": bench.native(events=0) | {"payload_max": "1M"}, "large": bench.native(events=0) | {"payload_max": "16M"}}
    app = bench.App(place, bench.bundle(place, "echo", functions), "echo")
    _, port = bench_peers.nginx(place)
    report.section("the honest client, and the gateway", ("p50", "p50 us", 0), ("p99", "p99 us", 0), ("times", "times", 2),
                   ("control", "control us", 0), ("times_control", "times control", 2), ("failed", "failed", 0), ("cpu", "CPU %", 1), ("peak", "RSS MiB", 1), ("pss", "PSS MiB", 1), ("dropped", "ended", 0),
                   ("ended_after", "after s", 2), ("status", "status", 0))
    alone = neighbour(app, "alone", arg.seconds, arg.rate)
    alone["peak"], alone["pss"] = memory(app.pid("sand-gatewayd"))
    report.add(alone)
    for name in arg.attacks or ATTACKS:
        title, plan = ATTACKS[name]
        control = beside(app, title, plan, arg, port)["p99"]
        time.sleep(1)
        found = beside(app, title, plan, arg, app.port)
        report.add(found | {"attack": name, "times": found["p99"] / alone["p99"], "control": control,
                            "times_control": found["p99"] / control})
        time.sleep(1)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

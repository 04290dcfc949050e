# SPDX-License-Identifier: LGPL-2.1-or-later
"""HTTP to a warm C function, by wrk, beside the same Debian's nginx: answering by itself, and with the same function as
CGI program behind fcgiwrap; and beside the gateway's libmicrohttpd and event loop, without a gateway (mhd-loop.c).

Gateway and supervisor are started as `sandctl run` does, on passed sockets, without systemd and without a machine: the
path of an event is the same as on a host, and nothing else runs beside it. Overhead: the median of one connection less
that of the same function called on the application's socket by one caller over sd-bus. A trigger of the same function (/web) makes an event of payload format 2.0 of the request and reads the
answer: what that costs is its median less that of /invoke, request by request in turn."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time

import bench
import bench_peers as peers

CONNECTIONS = (1, 16, 64)
WRK = """wrk.method = "POST"
wrk.body = string.rep("x", {bytes})
wrk.headers["Content-Type"] = "application/octet-stream"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"per_second": %.2f, "p50": %.1f, "p99": %.1f, "max": %.1f, "failed": %d}}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def wrk(place, url, name, connections, size, seconds):
    script = place.write(f"wrk{size}.lua", WRK.format(bytes=size))
    p = subprocess.run(["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
                        "--timeout", "10s", "--script", script, url], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads([line for line in p.stdout.splitlines() if line.startswith("{")][-1])
    if found["failed"]:
        print(f"{name}: {found['failed']} requests failed", file=sys.stderr)
    return found | {"name": f"{name}, {connections} connection{'s' if connections > 1 else ''}", "connections": connections,
                    "target": name, "bytes": size}


def local_calls(report, app, arg, size):
    """The same function without HTTP: its median by name."""
    report.section(f"{size} bytes, the application's socket, one caller", ("per_second", "calls/s", 0), ("p50", "p50 us", 1),
                   ("p99", "p99 us", 1))
    return {function: report.add(app.load(function, title, flight=1, bytes=size, seconds=arg.seconds))["p50"]
            for function, title in (("once", "events: 1"), ("many", "events: 0"))}


def requests(report, place, app, port, arg, size):
    local = local_calls(report, app, arg, size)
    report.section(f"{size} bytes, HTTP", ("per_second", "requests/s", 0), ("p50", "p50 us", 1), ("p99", "p99 us", 1),
                   ("overhead", "over local", 1), ("ratio", "of fcgiwrap", 1), ("of_bare", "of bare", 2))
    bare_port = bench.free_port()
    bare = place.start([bench.program("mhd-loop"), str(bare_port), str(size)])
    bench.wait_for("mhd-loop", lambda: bench.answers(bare_port))
    targets = ((f"http://127.0.0.1:{port}/cgi", "nginx + fcgiwrap, CGI program", None),
               (f"http://127.0.0.1:{port}/nothing", "nginx, return 200", None),
               (f"http://127.0.0.1:{bare_port}/", "libmicrohttpd alone", None),
               (f"http://127.0.0.1:{app.port}/invoke/echo/once", "SAND, events: 1", "once"),
               (f"http://127.0.0.1:{app.port}/invoke/echo/many", "SAND, events: 0", "many"))
    cgi, alone = {}, {}
    for url, name, function in targets:
        for connections in CONNECTIONS:
            r = wrk(place, url, name, connections, size, arg.seconds)
            cgi.setdefault(connections, r["per_second"])
            r["ratio"] = r["per_second"] / cgi[connections]
            if name == "libmicrohttpd alone":
                alone[connections] = r["per_second"]
            if function:
                r["of_bare"] = r["per_second"] / alone[connections]
            if function and connections == 1:
                r["overhead"] = r["p50"] - local[function]
            report.add(r)
    place.stop(bare)


def exchange(connection, request):
    """Microseconds from a request to the end of its answer."""
    begin = time.perf_counter_ns()
    connection.sendall(request)
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, body = answer.split(b"\r\n\r\n", 1)
    left = int(head.split(b"Content-Length: ", 1)[1].split(b"\r", 1)[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    end = time.perf_counter_ns()
    if not head.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"no success: {head.decode()}")
    return (end - begin) / 1000


def triggers(report, app, arg, size):
    report.section(f"{size} bytes, HTTP, one connection, requests to both in turn: what a trigger adds", ("p50", "p50 us", 1),
                   ("p90", "p90 us", 1), ("over_invoke", "over /invoke", 1))
    for function, title in (("once", "C, events: 1"), ("many", "C, events: 0"), ("python", "Python, echo, events: 0"),
                            ("answer", "Python, an answer, events: 0")):
        names = ("/invoke", "/web")
        requests = [f"POST {name}/echo/{function} HTTP/1.1\r\nHost: localhost:{app.port}\r\nUser-Agent: bench\r\n"
                    f"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
                    f'"{"x" * (size - 2)}"'.encode() for name in names]
        found = [[], []]
        with socket.create_connection(("127.0.0.1", app.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end = time.monotonic() + 2 * arg.seconds
            while time.monotonic() < end:
                for request, times in zip(requests, found):
                    times.append(exchange(connection, request))
        invoke, web = ({"name": f"{title}, {name}", "p50": statistics.median(times), "p90": statistics.quantiles(times, n=10)[8],
                        "requests": len(times), "bytes": size} for name, times in zip(names, found))
        report.add(invoke)
        report.add(web | {"over_invoke": web["p50"] - invoke["p50"]})


def system_calls(report, place, app, arg):
    report.section("system calls of the gateway", ("calls", "a request", 1))
    for function, title in (("once", "events: 1"), ("many", "events: 0")):
        url = f"http://127.0.0.1:{app.port}/invoke/echo/{function}"
        for connections in (1, 16):
            def run():
                return 2 * wrk(place, url, title, connections, arg.bytes[0], 2)["per_second"]

            counts = bench.system_calls(app, "sand-gatewayd", run)
            bench.add_system_calls(report, f"{title}, {connections} at a time", counts)


def main():
    p = bench.parser(__doc__)
    p.add_argument("--bytes", type=int, nargs="*", default=[64, 1024])
    p.add_argument("--seconds", type=int, default=3, help="of each measurement")
    p.add_argument("--triggers", action="store_true", help="measure what a trigger costs over /invoke, and nothing else")
    p.add_argument("--no-strace", action="store_true", help="do not count system calls")
    arg = p.parse_args()
    report = bench.Report("http", arg.json, seconds_each=arg.seconds, cpus=os.cpu_count())
    place = bench.Place()
    functions = {"once": bench.native(), "many": bench.native(events=0), "python": bench.python(events=0),
                 "answer": bench.python("answer", events=0)}
    routes = [{"http": f"POST /{name}", "target": name} for name in functions]
    app = bench.App(place, bench.bundle(place, "echo", functions, triggers=routes), "echo")
    if arg.triggers:
        for size in arg.bytes:
            triggers(report, app, arg, size)
        report.end()
        return
    _, port = peers.nginx(place, processes=16)
    for size in arg.bytes:
        requests(report, place, app, port, arg, size)
        triggers(report, app, arg, size)
    if not arg.no_strace:
        system_calls(report, place, app, arg)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

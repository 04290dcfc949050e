# SPDX-License-Identifier: LGPL-2.1-or-later
"""Request and reply through other systems of the same Debian, one caller at a time, beside floors of the same run and a
call of an application of ours. "same": all processes on one CPU; "free": the scheduler decides. Clients are C, so that
their own cost is small; every server is started on loopback with a directory of its own, and stopped by its process id."""

import json
import os
import shutil
import sys

import bench

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""
# dbus-broker-launch is made for systemd: it takes its listening socket as a descriptor, wants a socket of the journal, which
# it gets in a mount namespace of its own, and a bus to tell of activations, of which there are none: its own will do.
BROKER = """import os, socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
os.makedirs("/run/systemd/journal")
journal.bind("/run/systemd/journal/socket")
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(16)
os.set_inheritable(os.dup(journal.fileno()), True)
os.dup2(listening.fileno(), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "DBUS_SESSION_BUS_ADDRESS": "unix:path=" + sys.argv[1]}
os.execv("/usr/bin/dbus-broker-launch", ["dbus-broker-launch", "--scope", "user", "--config-file", sys.argv[2]])
"""
NGINX = """daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 32768;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_buffer_size 128k;
  client_body_temp_path {dir}/nginx-body; fastcgi_temp_path {dir}/nginx-fastcgi; proxy_temp_path {dir}/nginx-proxy;
  uwsgi_temp_path {dir}/nginx-uwsgi; scgi_temp_path {dir}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port};
    location /nothing {{ return 200 "ok"; }}
    location /cgi {{
      fastcgi_pass unix:{dir}/fcgi.sock;
      fastcgi_param SCRIPT_FILENAME {program};
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
    }}
  }}
}}
"""


def nats(place, cpu):
    port = bench.free_port()
    p = place.start(["nats-server", "--addr", "127.0.0.1", "--port", str(port), "--log", place.path("nats.log"),
                     "--pid", place.path("nats.pid")], cpu, stderr=open(place.path("nats.log"), "a"))
    bench.wait_for("nats-server", lambda: bench.answers(port))
    return [p], ["nats", f"127.0.0.1:{port}"]


def redis(place, cpu):
    path = place.path("redis.sock")
    p = place.start(["redis-server", "--port", "0", "--unixsocket", path, "--dir", place.dir, "--save", "",
                     "--appendonly", "no", "--daemonize", "no", "--logfile", place.path("redis.log")], cpu)
    bench.wait_for("redis-server", lambda: bench.connects(path))
    return [p], ["redis", path]


def bus_place(place, name):
    path = place.path(f"{name}.sock")
    if os.path.exists(path):
        os.unlink(path)
    return path, place.write(f"{name}.conf", BUS_CONFIG.format(socket=path))


def dbus_daemon(place, cpu):
    path, config = bus_place(place, "dbus-daemon")
    p = place.start(["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", f"--config-file={config}"], cpu,
                    stderr=open(place.path("dbus-daemon.log"), "a"))
    bench.wait_for("dbus-daemon", lambda: bench.connects(path))
    return [p], ["dbus", f"unix:path={path}"]


def dbus_broker(place, cpu):
    path, config = bus_place(place, "dbus-broker")
    p = place.start(["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "-",
                     sys.executable, "-c", BROKER, path, config], cpu, stderr=open(place.path("broker.log"), "a"))
    bench.wait_for("dbus-broker", lambda: bench.connects(path))
    return [p], ["dbus", f"unix:path={path}"]


def nginx(place, cpu=None, processes=2):
    """nginx with fcgiwrap; the port."""
    port = bench.free_port()
    wrap = place.start(["fcgiwrap", "-c", str(processes), "-s", f"unix:{place.path('fcgi.sock')}"], cpu,
                       stderr=open(place.path("fcgi.log"), "a"))
    config = place.write("nginx.conf", NGINX.format(dir=place.dir, port=port, program=bench.program("cgi-echo")))
    p = place.start(["nginx", "-c", config, "-e", place.path("nginx-error.log")], cpu)
    bench.wait_for("nginx", lambda: bench.answers(port) and bench.connects(place.path("fcgi.sock")))
    return [p, wrap], port


def stop_nginx(place, processes):
    for p in processes:
        place.stop(p)
    if os.path.exists(place.path("fcgi.sock")):
        os.unlink(place.path("fcgi.sock"))


def nginx_fcgiwrap(place, cpu):
    processes, port = nginx(place, cpu)
    return processes, ["http", f"127.0.0.1:{port}", "/cgi"]


def crun(place, cpu):
    """A container that is as little as one can be: a static program in a root of its own, without a cgroup. crun insists on
    version 2 of them all the same, so where it is not at its usual place it is put there in a mount namespace."""
    if not os.path.exists(place.path("crun/config.json")):
        for directory in ("proc", "dev"):
            os.makedirs(place.path("crun/rootfs", directory))
        shutil.copy(bench.program("true-static"), place.path("crun/rootfs/true"))
        place.write("crun/config.json", json.dumps({
            "ociVersion": "1.0.0", "process": {"user": {"uid": 0, "gid": 0}, "args": ["/true"], "cwd": "/"},
            "root": {"path": "rootfs", "readonly": True}, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]}}))
    return [], ["spawn", "crun", "--cgroup-manager=disabled", "--root", place.path("crun-state"), "run",
                "--bundle", place.path("crun"), "sand-bench"]


def spawn(place, cpu):
    return [], ["spawn", bench.program("true-static")]


PEERS = (("nats-server, request and reply", nats, 1), ("redis-server, two lists", redis, 1),
         ("dbus-daemon, method call", dbus_daemon, 1), ("dbus-broker, method call", dbus_broker, 1),
         ("nginx + fcgiwrap, the function as CGI program", nginx_fcgiwrap, 5),
         ("crun run of a static `true`", crun, 25), ("posix_spawn of a static `true`", spawn, 5))
VARIANTS = (("same", 0), ("free", None))


def peer_rows(place, arg):
    """Of each peer and variant a row with the keys name, variant, p50, p99."""
    unified = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "-"]
    for title, start, slow in PEERS:
        for variant, cpu in VARIANTS:
            processes, address = start(place, cpu)
            argv = (unified if start is crun else []) + [bench.program("peer"), "--bytes", str(arg.bytes),
                                                         "--events", str(max(100, arg.events // slow))]
            yield bench.row(argv + address, cpu, name=f"{title}, {variant}", peer=title, variant=variant)
            stop_nginx(place, processes)


def floor_rows(place, arg):
    for kind, title in (("raw", "raw three-party relay"), ("sdbus", "the same over sd-bus")):
        for variant, cpu in VARIANTS:
            yield bench.relay(place, kind, f"{title}, {variant}", hub=cpu, callee=cpu, caller=cpu, flight=1, bytes=arg.bytes,
                              seconds=1) | {"variant": variant}


def our_rows(place, arg):
    directory = bench.bundle(place, "echo", {"once": bench.native(), "many": bench.native(events=0)})
    with bench.App(place, directory, "echo") as app:
        for function, title in (("once", "SAND, fresh process each event"), ("many", "SAND, events: 0")):
            yield app.load(function, f"{title}, free", flight=1, bytes=arg.bytes, seconds=2) | {"variant": "free"}


def add(report, place, arg):
    """The sections of this benchmark, also to another one's report; arg.bytes, arg.events."""
    columns = (("p50", "p50 us", 1), ("p99", "p99 us", 1), ("ratio", "p50/raw relay", 2))
    floors = {}
    for title, found in (("floors, one call at a time", floor_rows), ("peers, one call at a time", peer_rows),
                         ("an outside caller of ours, one call at a time", our_rows)):
        report.section(title, *columns)
        for r in found(place, arg):
            floors.setdefault(r["variant"], r["p50"])
            report.add(r | {"ratio": r["p50"] / floors[r["variant"]]})


def main():
    p = bench.parser(__doc__)
    p.add_argument("--bytes", type=int, default=1024)
    p.add_argument("--events", type=int, default=5000, help="of the fast peers; the slow ones get a part of it")
    arg = p.parse_args()
    report = bench.Report("peers", arg.json, bytes=arg.bytes, events=arg.events, cpus=os.cpu_count())
    add(report, bench.Place(), arg)
    report.end()


if __name__ == "__main__":
    sys.exit(main())

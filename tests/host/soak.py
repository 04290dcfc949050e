#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak.py SECONDS [VICTIM...]: nothing accepted is lost. Loads the application of apps/ledger with asynchronous events, over HTTP, by
sandctl and by send(), and every few hundred milliseconds kills what serves them: an instance, a worker, the supervisor,
the machine, the gateway, globald; or only the victims that are named, also by `restart` of globald and by `upgrade` of
the packages. Then all that was accepted must have ended, as done or as a dead letter; what is
done must be in the functions' own record, and be there no more often than it was begun.

A request that is refused or cut off while something dies is made again with the same Idempotency-Key, as a client
does; none may find that nobody listens. Prints what it counted; what is wrong goes to standard error, status 1."""

import collections
import glob
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

APP, STATE = "ledger", "/var/lib/sand/state/ledger"
GATEWAY = ("127.0.0.1", 8080)
FUNCTIONS = ("note", "note", "note", "slow", "flaky", "relay")
CLIENTS, PAUSE = 6, 0.02
KILL_EVERY = (0.1, 0.4)
RUN = os.getpid()  # in every key: books and log may be those of a run before
PATIENCE = 180  # seconds, for all to end when the killing has

stopping = threading.Event()
lock = threading.Lock()
accepted = {}  # key: (id, function)
counts, kills, wrong = collections.Counter(), collections.Counter(), []


def complain(text):
    with lock:
        wrong.append(text)


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()


# ---- load ----


def accept(key, function, id, how):
    with lock:
        counts[how] += 1
        if accepted.setdefault(key, (id, function))[0] != id:
            wrong.append(f"{key} was accepted twice, as {accepted[key][0]} and {id}")


def post(connection, key, function):
    """The id; None: it was not accepted, as far as is known here."""
    try:
        connection.request("POST", f"/invoke/{APP}/{function}", json.dumps({"key": key}),
                           {"Content-Type": "application/json", "Prefer": "respond-async", "Idempotency-Key": key})
        answer = connection.getresponse()
        body = answer.read()
    except ConnectionRefusedError:
        complain(f"{key}: connection refused")
    except (OSError, http.client.HTTPException):
        with lock:
            counts["cut off"] += 1
    else:
        if answer.status == 202:
            return answer.getheader("Location").rpartition("/")[2]
        with lock:
            counts[f"refused with {answer.status}"] += 1
        if answer.status not in (429, 502, 503, 504):
            complain(f"{key}: status {answer.status}: {body[:300].decode(errors='replace')}")
    connection.close()
    return None


def http_client(number):
    connection = http.client.HTTPConnection(*GATEWAY, timeout=30)
    for i in range(sys.maxsize):
        if stopping.is_set():
            break
        function, key = random.choice(FUNCTIONS), f"{RUN}-http-{number}-{i}"
        until = time.monotonic() + PATIENCE
        while not (id := post(connection, key, function)):
            if time.monotonic() > until:
                return complain(f"{key}: not accepted within {PATIENCE} s")
            time.sleep(0.1)
        accept(key, function, id, "accepted over HTTP")
        time.sleep(PAUSE)


def sandctl_client():
    """Without a key: what fails may have been accepted, and nobody was promised anything."""
    for i in range(sys.maxsize):
        if stopping.is_set():
            break
        key = f"{RUN}-sandctl-{i}"
        run = subprocess.run(["sandctl", "invoke", "--async", f"{APP}/note", "--data", json.dumps({"key": key})],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if run.returncode == 0:
            accept(key, "note", run.stdout.strip(), "accepted by sandctl")
        else:
            with lock:
                counts["refused by sandctl"] += 1
            if "nothing listens" in run.stderr:
                complain(f"{key}: {run.stderr.strip()}")
        time.sleep(PAUSE)


# ---- kills ----


def main_pid(unit):
    return int(output("systemctl", "show", "-P", "MainPID", unit) or 0)


def leader():
    return int(output("machinectl", "show", APP, "-p", "Leader", "--value") or 0)


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as f:
                found += [int(word) for word in f.read().split()]
        except OSError:
            pass
    return found


def one_of(pids):
    return random.choice(pids) if pids else 0


def title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


def workers_and_instances():
    """Of the running machine. An instance is its worker's sibling, younger and of the same title."""
    workers, instances = {}, []
    pid = leader()
    for child in children(pid) if pid else []:
        if workers.setdefault(title(child), child) != child:
            instances.append(child)
    return list(workers.values()), instances


VICTIMS = {
    "instance": lambda: one_of(workers_and_instances()[1]),
    "worker": lambda: one_of(workers_and_instances()[0]),
    "supervisor": leader,
    "machine": lambda: main_pid(f"sand-app@{APP}.service"),
    "gatewayd": lambda: main_pid("sand-gatewayd.service"),
    "globald": lambda: main_pid("sand-globald.service"),
}


COMMANDS = {
    "terminate": ["machinectl", "terminate", APP],
    "restart": ["systemctl", "restart", "sand-globald.service"],
    "upgrade": ["apt-get", "-y", "-q", "--reinstall", "install", *glob.glob("/root/debs/*.deb")],
}


def kill_one(kind):
    if kind in COMMANDS:
        killed = subprocess.run(COMMANDS[kind], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        if not killed and kind != "terminate":
            complain(f"{kind} failed")
    else:
        pid = VICTIMS[kind]()
        killed = pid > 1
        try:
            if killed:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            killed = False
    kills[kind] += killed


# ---- the account ----


def execution(connection, id):
    """None: ask again."""
    try:
        connection.request("GET", f"/executions/{id}")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return None
    if answer.status == 404:
        return {"status": "vanished", "attempts": 0}
    return json.loads(body) if answer.status == 200 else None


def wait_for_the_end():
    """What became of each: {key: document}."""
    connection = http.client.HTTPConnection(*GATEWAY, timeout=30)
    ended, until = {}, time.monotonic() + PATIENCE
    while len(ended) < len(accepted) and time.monotonic() < until:
        for key, (id, _) in accepted.items():
            if key in ended:
                continue
            found = execution(connection, id)
            if not found or found["status"] in ("accepted", "running"):
                break
            ended[key] = found
        else:
            break
        time.sleep(0.05)
    for key, (id, function) in accepted.items():
        if key not in ended:
            complain(f"{key} ({function}, {id}) has not ended: {execution(connection, id)}")
    return ended


def read(book):
    try:
        with open(f"{STATE}/{book}") as f:
            return collections.Counter(f.read().split())
    except FileNotFoundError:
        return collections.Counter()


def wait_for_what_was_sent():
    until = time.monotonic() + PATIENCE
    while (missing := read("sent").keys() - read("done").keys()) and time.monotonic() < until:
        time.sleep(0.5)
    for key in missing:
        complain(f"{key}: send() promised it, and it was never served")


def account(ended):
    done = read("done")
    for key, found in ended.items():
        (id, function), runs, attempts = accepted[key], done[key], found.get("attempts", 0)
        counts[f"ended as {found['status']}"] += 1
        if found["status"] == "vanished":
            complain(f"{key} ({function}, {id}) vanished")
        elif found["status"] == "done" and runs == 0:
            complain(f"{key} ({function}, {id}) is done and did not run")
        elif found["status"] == "dead" and function != "flaky":
            complain(f"{key} ({function}, {id}) is a dead letter: {found}")
        elif runs > attempts:
            complain(f"{key} ({function}, {id}) ran {runs} times in {attempts} attempts")
        counts["ran again after a kill"] += max(0, runs - 1)


def main():
    seconds, victims = float(sys.argv[1]), sys.argv[2:] or [*VICTIMS, "terminate"]
    threads = [threading.Thread(target=http_client, args=(i,)) for i in range(CLIENTS)]
    threads.append(threading.Thread(target=sandctl_client))
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(random.uniform(*KILL_EVERY))
        kill_one(random.choice(victims))
    stopping.set()
    for thread in threads:
        thread.join()
    ended = wait_for_the_end()
    wait_for_what_was_sent()
    account(ended)
    counts["sent by functions"] = len(read("sent"))
    print(f"{sum(kills.values())} kills: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kills.items())))
    print("events: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    if not accepted or sum(kills.values()) < seconds / 4:
        complain("nothing was accepted, or hardly anything was killed")
    for kind in victims if seconds >= 60 else []:
        if not kills[kind]:
            complain(f"{kind}: not once in {seconds:.0f} s")
    for text in wrong[:20]:
        print(text, file=sys.stderr)
    if wrong:
        sys.exit(f"{len(wrong)} are wrong, the first: {wrong[0]}")


main()

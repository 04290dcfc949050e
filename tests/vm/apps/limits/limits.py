# SPDX-License-Identifier: LGPL-2.1-or-later
"""Functions that want more than they are given."""

import os
import time


def wait(event):
    """Until the test says so."""
    while event.get("wait") and not os.path.exists("/state/go"):
        time.sleep(0.1)


def hog(event, context):
    """Takes that many MiB, one after another, and keeps them for a while."""
    kept = []
    for _ in range(event["mib"]):
        kept.append(b"x" * (1 << 20))
    wait(event)
    return {"mib": len(kept)}


def bomb(event, context):
    """Processes that make processes, most of them nobody's children."""
    while not event.get("quiet"):
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
    return "quiet"


def echo(event, context):
    wait(event)
    return {"cpus": sorted(os.sched_getaffinity(0))}


def burn(event, context):
    """How much CPU time there is between two times."""
    time.sleep(max(0, event["begin"] - time.time()))
    before = time.process_time()
    while time.time() < event["end"]:
        pass
    return {"cpu": time.process_time() - before}

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Functions that leave a record of what they did, outside of the event log: soak.py compares."""

import os
import random
import time


def write(book, line):
    """In one write: whatever dies, a line is there or it is not. On disk, for the power may fail (tests/vm).
    For all: each function is a user of its own, and they write the same books."""
    os.umask(0)
    fd = os.open(f"/state/{book}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(fd, f"{line}\n".encode())
    os.fsync(fd)
    os.close(fd)


def note(event, context):
    write("done", event["key"])


def slow(event, context):
    time.sleep(0.3)
    write("done", event["key"])


def flaky(event, context):
    """Two in five attempts fail, so that one in sixteen events is a dead letter."""
    if random.random() < 0.4:
        raise RuntimeError("it is one of those days")
    write("done", event["key"])


def relay(event, context):
    """What was sent is written down when send() has promised it, under a key of this attempt's own."""
    key = f"{event['key']}+{context.invocation_id}"
    context.send("note", {"key": key})
    write("sent", key)
    write("done", event["key"])

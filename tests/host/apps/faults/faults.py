# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that can go wrong in a function, on purpose."""

import os
import signal
import time


class NoSuchPhoto(Exception):
    pass


def fail(event, context):
    raise NoSuchPhoto("there is no photo 7")


def echo(event, context):
    return event


def blob(event, context):
    return bytes(range(256)) * (int(event["bytes"]) // 256)


def grow(event, context):
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def nap(event, context):
    time.sleep(float(event["seconds"]))
    return "rested"


def die(event, context):
    os.kill(os.getpid(), getattr(signal, event["signal"]))
    time.sleep(10)


def outer(event, context):
    return context.call("raise", {})

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What reaches another application."""


def order(event, context):
    context.emit("orders.new", event)


def call(event, context):
    return context.call("events/record", event)


def send(event, context):
    context.send("events/record", event)


def heard(event, context):
    with open("/state/heard", "a") as f:
        f.write(event["type"] + "\n")

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Functions that leave what they got in a file of their name, a line of JSON each."""

import json
import os


def record(event, context):
    line = json.dumps({"event": event, "headers": context.headers, "execution": context.execution_id})
    fd = os.open(f"/state/{context.function_name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)
    return {"recorded": event}


def fail(event, context):
    """Until somebody has mended it."""
    if not os.path.exists("/state/mended"):
        raise LookupError("there is no order 7")
    return record(event, context)

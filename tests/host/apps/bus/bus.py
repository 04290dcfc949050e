# SPDX-License-Identifier: LGPL-2.1-or-later
"""Functions that tell which process served which event, and on which CPUs it may run."""

import os
import threading
import time

seen = []  # by this process


def identity():
    """A process id is used again; together with the time of its start it is not."""
    with open('/proc/self/stat') as f:
        return f'{os.getpid()}.{f.read().rpartition(")")[2].split()[19]}'


def record(event, context):
    """Leaves FUNCTION IDENTITY ID in a file of the function's, in one write, before anything else can happen."""
    line = f'{context.function_name} {identity()} {event["id"]}\n'
    fd = os.open(f'/state/served-{context.function_name}', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, line.encode())
    os.close(fd)
    before = list(seen)
    seen.append(event['id'])
    time.sleep(float(event.get('seconds', 0)))
    return {'id': event['id'], 'process': identity(), 'before': before}


def via(event, context):
    own = record({'id': event['id'] + '-outer'}, context)
    return {'id': event['id'], 'outer': own, 'inner': context.call('once', event)}


def burn(seconds):
    """Until this thread has used that much CPU."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def compute(event, context):
    burn(float(event['seconds']))
    return {'cpus': sorted(os.sched_getaffinity(0)), 'cpu': time.process_time()}


def threads(event, context):
    found = []

    def work():
        burn(float(event['seconds']))
        found.append(sorted(os.sched_getaffinity(0)))

    started = [threading.Thread(target=work) for _ in range(int(event['n']))]
    for t in started:
        t.start()
    for t in started:
        t.join()
    return {'cpus': found}

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many events over HTTP, at most so many at a time, each on a connection of its own.

usage: load.py TARGET EVENTS CLIENTS [SECONDS [HANGUPS]]

The event is {"id": "FUNCTION-N", "seconds": SECONDS}; of 1000 clients HANGUPS go away at a random moment.
One line for each event: ID STATUS ERROR MICROSECONDS RETRY-AFTER BODY, with - for what there is not;
STATUS is 0 for one that nobody answered, and HUNGUP for one that went away itself."""

import asyncio
import json
import random
import re
import sys
import time


async def ask(target, body):
    reader, writer = await asyncio.open_connection('127.0.0.1', 8080)
    try:
        writer.write(b'POST /invoke/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n'
                     b'Content-Length: %d\r\n\r\n%s' % (target.encode(), len(body), body))
        return await reader.read()
    finally:
        writer.close()


def parse(answer):
    head, _, body = answer.partition(b'\r\n\r\n')
    if not head.startswith(b'HTTP/1.1 '):
        return '0', '-', '-', '-'
    status = head.split()[1].decode()
    retry = re.search(rb'(?i)\r\nretry-after: *(\d+)', head)
    error = '-' if status == '200' else json.loads(body)['type'].rpartition(':')[2]
    return status, error, retry[1].decode() if retry else '-', body.decode().replace('\n', ' ')


async def client(numbers, target, seconds, hangups):
    for n in numbers:
        name = f'{target.split("/")[1]}-{n}'
        body = json.dumps({'id': name, 'seconds': seconds}).encode()
        begin = time.monotonic()
        limit = random.uniform(0, 0.05) if random.randrange(1000) < hangups else 60
        try:
            status, error, retry, text = parse(await asyncio.wait_for(ask(target, body), limit))
        except asyncio.TimeoutError:
            status, error, retry, text = ('HUNGUP' if limit < 60 else '0'), '-', '-', '-'
        except OSError as e:
            status, error, retry, text = '0', type(e).__name__, '-', '-'
        print(name, status, error, int((time.monotonic() - begin) * 1e6), retry, text, flush=True)


async def main(target, events, clients, seconds=0.0, hangups=0):
    numbers = iter(range(int(events)))
    await asyncio.gather(*(client(numbers, target, float(seconds), int(hangups)) for _ in range(int(clients))))


asyncio.run(main(*sys.argv[1:]))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later

"""sand-globald as it is shipped, between those who give it events and fake-machine. As root: it looks at its peers' uids.

usage: test-globald.py SAND-GLOBALD FAKE-MACHINE"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

GLOBALD, MACHINE = sys.argv[1:3]
SKIPPED = 77
PATH, INTERFACE = '/org/sand/Events1', 'org.sand.Events1'
FIELDS = {1: 'o', 2: 's', 3: 's', 4: 's', 5: 'u', 6: 's', 7: 's', 8: 'g', 9: 'u'}
FAST = {'attempts': 3, 'delay_usec': 20000, 'backoff': 1, 'delay_max_usec': 20000, 'age_max_usec': 60000000,
        'timeouts': True}


class Failed(Exception):
    def __init__(self, name, message):
        super().__init__(f'{name}: {message}')
        self.name, self.message = name, message


def pad(data, n):
    return data + b'\0' * (-len(data) % n)


def string(data, s):
    s = s.encode()
    return pad(data, 4) + struct.pack('<I', len(s)) + s + b'\0'


def signature(s):
    return bytes([len(s)]) + s.encode() + b'\0'


class Client:
    """A connection that calls as peer.c does, by D-Bus without descriptors."""

    def __init__(self, path, uid=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        if uid is not None:
            os.seteuid(uid)
        try:
            self.socket.connect(path)
        finally:
            os.seteuid(0)
        self.buffer, self.serial, self.answers = b'', 0, {}
        self.socket.sendall(b'\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n')
        while self.buffer.count(b'\r\n') < 2:
            self.fill()
        self.buffer = self.buffer.split(b'\r\n', 2)[2]

    def fill(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError
        self.buffer += data

    def begin(self, member, target='', payload=b'', content_type='application/json', headers=(), execution='', deadline=0):
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        body = string(string(b'', target), execution)
        body = string(pad(body, 8) + struct.pack('<Q', deadline), content_type)
        pairs = b''
        for k, v in dict(headers).items():
            pairs = string(string(pad(pairs, 8), k), v)
        body = pad(pad(body, 4) + struct.pack('<I', len(pairs)), 8) + pairs
        body = pad(body + signature('ay'), 4) + struct.pack('<I', len(payload)) + payload
        self.serial += 1
        fields = b''
        for code, kind, value in (1, 'o', PATH), (2, 's', INTERFACE), (3, 's', member), (8, 'g', 'sstsa{ss}v'):
            fields = pad(fields, 8) + bytes([code]) + signature(kind)
            fields = fields + signature(value) if kind == 'g' else string(fields, value)
        head = struct.pack('<4BIII', ord('l'), 1, 0, 1, len(body), self.serial, len(fields)) + fields
        self.socket.sendall(pad(head, 8) + body)
        return self.serial

    def receive(self):
        while len(self.buffer) < 16:
            self.fill()
        kind, size, fields = self.buffer[1], *struct.unpack_from('<I4xI', self.buffer, 4)
        start = 16 + fields + -fields % 8
        while len(self.buffer) < start + size:
            self.fill()
        head, body = self.buffer[:start], self.buffer[start:start + size]
        self.buffer = self.buffer[start + size:]
        found, at = {}, 16
        while at < 16 + fields:
            at += -at % 8
            code, at = head[at], at + 4
            if FIELDS[code] == 'u':
                found[code], at = struct.unpack_from('<I', head, at)[0], at + 4
            elif FIELDS[code] == 'g':
                found[code], at = '', at + head[at] + 2
            else:
                n = struct.unpack_from('<I', head, at)[0]
                found[code], at = head[at + 4:at + 4 + n].decode(), at + 5 + n
        n = struct.unpack_from('<I', body)[0]
        text, at = body[4:4 + n].decode(), 5 + n
        if kind == 3:
            return found[5], Failed(found[4].rsplit('.', 1)[1], text)
        at += -at % 8 + 24
        at += 1 + body[at] + 1
        at += -at % 4
        return found[5], body[at + 4:at + 4 + struct.unpack_from('<I', body, at)[0]]

    def end(self, serial):
        while serial not in self.answers:
            k, v = self.receive()
            self.answers[k] = v
        v = self.answers.pop(serial)
        if isinstance(v, Failed):
            raise v
        return v

    def call(self, *a, **k):
        return self.end(self.begin(*a, **k))

    def ask(self, *a, **k):
        return json.loads(self.call(*a, **k))

    def close(self):
        self.socket.close()


class Rig(unittest.TestCase):
    settings = ''

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='sand-globald-')
        self.addCleanup(shutil.rmtree, self.dir)
        os.chmod(self.dir, 0o755)
        for d in ('catalogue', 'app', 'state'):
            os.mkdir(f'{self.dir}/{d}')
        with open(f'{self.dir}/globald.conf', 'w') as f:
            f.write(self.settings)
        self.machines, self.globald = {}, None
        self.publish('demo', 1000000)
        self.machine_start('demo')
        self.addCleanup(self.machines_stop)
        self.start()
        self.addCleanup(self.stop)

    def publish(self, name, uid, retry=FAST, allow=(), topics=(), most=4, **functions):
        entry = {'name': name, 'version': '1-aa', 'hash': '0' * 64, 'uid_base': uid, 'functions': {}, 'routes': [],
                 'allow': list(allow), 'topics': [{'event': p, 'target': t} for p, t in topics]}
        for f in ('echo', 'event', 'fail', 'error', 'delay', 'count', 'info', 'empty', 'die', 'never'):
            entry['functions'][f] = {'runtime': 'exec', 'timeout_usec': 5000000, 'payload_max': 1 << 20, 'queue_max': 1000,
                                     'instances_max': most, 'retry': retry} | functions.get(f, {})
        with open(f'{self.dir}/catalogue/.new', 'w') as f:
            json.dump(entry, f)
        os.rename(f'{self.dir}/catalogue/.new', f'{self.dir}/catalogue/{name}.json')

    def machine_start(self, name):
        m = self.machines[name] = subprocess.Popen([MACHINE, f'{self.dir}/app/{name}.sock'], stdout=subprocess.PIPE)
        m.stdout.readline()

    def machine_stop(self, name):
        m = self.machines.pop(name)
        m.kill()
        m.wait()
        m.stdout.close()

    def machines_stop(self):
        for name in list(self.machines):
            self.machine_stop(name)

    def start(self):
        with open(f'{self.dir}/log', 'a') as log:
            self.globald = subprocess.Popen([GLOBALD, f'--config={self.dir}/globald.conf',
                                             f'--catalogue={self.dir}/catalogue', f'--app-sockets={self.dir}/app',
                                             f'--state={self.dir}/state', f'--listen-host={self.dir}/host',
                                             f'--listen-machines={self.dir}/machine'], stderr=log)
        self.eventually(lambda: self.globald.poll() is not None or self.listens())
        os.chmod(f'{self.dir}/machine', 0o666)
        self.host = self.client()

    def listens(self):
        try:
            for s in 'host', 'machine':
                with socket.socket(socket.AF_UNIX) as c:
                    c.connect(f'{self.dir}/{s}')
            return True
        except OSError:
            return False

    def stop(self):
        """What the sanitizers find is in the exit status."""
        self.globald.terminate()
        self.assertEqual(self.globald.wait(90), 0, self.log())

    def kill(self):
        self.globald.kill()
        self.globald.wait()

    def log(self):
        with open(f'{self.dir}/log') as f:
            return f.read()

    def client(self, uid=None):
        c = Client(f'{self.dir}/host' if uid is None else f'{self.dir}/machine', uid)
        self.addCleanup(c.close)
        return c

    def eventually(self, what, seconds=15):
        end = time.time() + seconds
        while not what():
            self.assertLess(time.time(), end, 'does not happen')
            time.sleep(0.05)

    def send(self, target, payload=b'{}', client=None, **options):
        headers = {f'sand-{k.replace("_", "-")}': str(v) for k, v in options.items()}
        return (client or self.host).ask('Send', target, payload, headers=headers)['id']

    def execution(self, i):
        return self.host.ask('Execution', i)

    def ended(self, i, seconds=15):
        return self.host.ask('Execution', i, headers={'wait': '1'},
                             deadline=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 + seconds * 1000000)

    def refused(self, name, *a, client=None, **k):
        with self.assertRaises(Failed) as e:
            (client or self.host).call(*a, **k)
        self.assertEqual(e.exception.name, name, e.exception.message)
        return e.exception.message


class Events(Rig):
    def test_done(self):
        i = self.send('demo/event', {'a': [1, None]})
        e = self.ended(i)
        self.assertEqual((e['status'], e['attempts'], e['result'], e['app'], e['function']),
                         ('done', 1, {'a': [1, None]}, 'demo', 'event'))
        self.assertEqual(self.execution(i[:8])['id'], i)
        for n in (0, 1, 1 << 15): # what is larger travels by descriptor
            e = self.ended(self.host.ask('Send', 'demo/echo', b'\xff' * n, 'image/png')['id'])
            self.assertEqual(base64.b64decode(e['result_base64']), b'\xff' * n)
        e = self.ended(self.host.ask('Send', 'demo/info', b'', headers={'traceparent': 'x', 'sand-source': 'clock'},
                                     execution='a' * 32)['id'])
        text = base64.b64decode(e['result_base64']).decode()
        self.assertTrue(text.startswith('a' * 32) and 'traceparent=x' in text and 'sand-' not in text, text)
        self.assertEqual((e['source'], e['execution']), ('clock', 'a' * 32))

    def test_dead(self):
        i = self.send('demo/fail', {'n': 7})
        e = self.ended(i)
        self.assertEqual((e['status'], e['attempts'], e['error'], e['error_class'], e['message'], e['cause']),
                         ('dead', 3, 'FunctionFailed', 'Oops', 'it "failed"', 'a cause'))
        self.assertEqual([l['id'] for l in self.host.ask('DeadLetters')], [i])
        letter = self.host.ask('DeadLetter', i[:20])
        self.assertEqual((letter['payload'], letter['payload_content_type'], letter['headers']),
                         ({'n': 7}, 'application/json', {}))
        self.assertEqual(self.host.ask('Replay', '', {'ids': [i]}), {'events': 1})
        self.eventually(lambda: self.execution(i)['status'] == 'dead' and self.execution(i)['attempts'] == 3)
        self.assertEqual(self.host.ask('Drop', '', {'app': 'other'}), {'events': 0})
        self.assertEqual(self.host.ask('Drop', '', {'app': 'demo'}), {'events': 1})
        self.refused('NotFound', 'Execution', i)
        self.assertEqual(self.ended(self.send('demo/error', b'Denied'))['attempts'], 1)

    def test_all_letters(self):
        """The limit is of what is shown, not of what is done."""
        for k in [self.host.begin('Send', 'demo/error', b'Denied') for _ in range(130)]:
            self.host.end(k)
        self.eventually(lambda: len(self.host.ask('DeadLetters', '', {'limit': 1000})) == 130)
        self.assertEqual(len(self.host.ask('DeadLetters')), 100)
        self.assertEqual(self.host.ask('Drop', '', {'all': True}), {'events': 130})

    def test_idempotent(self):
        first = self.send('demo/count', idempotency_key='k')
        again = self.host.ask('Send', 'demo/count', headers={'sand-idempotency-key': 'k'})
        self.assertEqual(again, {'id': first, 'duplicate': True})
        self.assertNotEqual(self.send('demo/count', idempotency_key='l'), first)
        self.ended(first)
        self.kill()
        self.start()
        self.assertEqual(self.send('demo/count', idempotency_key='k'), first)

    def test_compare(self):
        self.send('demo/empty', source='s', idempotency_key='a', key_keep=1)
        self.send('demo/empty', source='s', idempotency_key='b', key_keep=1)
        self.assertEqual(self.host.ask('Compare', 'demo//s', ['a', 'c']), ['c'])
        self.assertEqual(self.host.ask('Compare', 'demo//s', ['a', 'b']), ['b'])
        self.assertEqual(self.host.ask('Compare', 'demo//t', ['a']), ['a'])

    def test_delay(self):
        i, begun = self.send('demo/empty', delay_usec=700000), time.time()
        self.assertEqual(self.execution(i)['status'], 'accepted')
        self.assertEqual(self.ended(i)['status'], 'done')
        self.assertGreater(time.time() - begun, 0.6)

    def test_overlap(self):
        i = self.send('demo/delay', b'500', source='t', overlap='skip')
        self.refused('Busy', 'Send', 'demo/delay', b'1', headers={'sand-source': 't', 'sand-overlap': 'skip'})
        self.ended(i)
        self.send('demo/delay', b'1', source='t', overlap='skip')

    def test_refusals(self):
        self.refused('NotFound', 'Send', 'nope/echo')
        self.refused('NotFound', 'Send', 'demo/nope')
        self.refused('BadRequest', 'Send', 'echo')
        self.refused('TooLarge', 'Send', 'demo/echo', b'x' * ((1 << 20) + 1))
        for k, v in (('delay-usec', 'soon'), ('idempotency-key', ''), ('idempotency-key', 'x' * 257), ('callback', 'ftp://x'),
                     ('overlap', 'yes'), ('nonsense', '1')):
            self.assertIn(f'sand-{k}', self.refused('BadRequest', 'Send', 'demo/echo', headers={f'sand-{k}': v}))
        self.refused('NotFound', 'Execution', '0' * 32)
        self.refused('BadRequest', 'Execution', 'xyz')
        self.refused('BadRequest', 'Replay', '', {})
        self.assertEqual(self.host.ask('Executions'), [])

    def test_machine_absent(self):
        self.machine_stop('demo')
        i = self.send('demo/empty')
        old = self.send('demo/empty', max_age_usec=300000)
        self.eventually(lambda: self.execution(old)['status'] == 'dead')
        self.assertNotEqual(self.execution(i)['status'], 'dead')
        self.machine_start('demo')
        e = self.ended(i)
        self.assertEqual((e['status'], e['attempts']), ('done', 1))

    def test_waiters_gone(self):
        """Who asked to be told of an event's end and went is not kept."""
        i = self.send('demo/delay', b'1500')
        before = len(os.listdir(f'/proc/{self.globald.pid}/fd'))
        for _ in range(50):
            c = self.client()
            c.begin('Execution', i, headers={'wait': '1'})
            c.close()
        self.eventually(lambda: len(os.listdir(f'/proc/{self.globald.pid}/fd')) <= before)
        self.assertEqual(self.ended(i)['status'], 'done')

    def test_removed(self):
        self.publish('gone', 2000000)
        i = self.send('gone/empty', delay_usec=300000)
        os.unlink(f'{self.dir}/catalogue/gone.json')
        e = self.ended(i)
        self.assertEqual((e['status'], e['error']), ('dead', 'NotFound'))

    def test_crash(self):
        """Whatever was accepted ends, though globald is killed again and again."""
        ids = []
        for _ in range(4):
            sent = [self.host.begin('Send', 'demo/delay', b'100') for _ in range(20)]
            ids += [json.loads(self.host.end(k))['id'] for k in sent]
            time.sleep(0.1)
            self.kill()
            self.start()
        for i in ids:
            self.assertEqual(self.ended(i, 25)['status'], 'done')

    def test_terminate(self):
        """What was accepted is answered, though it is stopped meanwhile: twice would it run otherwise."""
        for n in range(10):
            sent = [self.host.begin('Send', 'demo/empty', b'') for _ in range(5)]
            time.sleep(n * 0.0004)
            self.globald.terminate()
            answered = 0
            for k in sent:
                try:
                    self.host.end(k)
                    answered += 1
                except Failed as e:
                    self.assertEqual(e.name, 'Unavailable')
                except (EOFError, ConnectionResetError):
                    break
            self.assertEqual(self.globald.wait(20), 0)
            before = self.started = getattr(self, 'started', 0)
            self.start()
            self.assertEqual(len(self.host.ask('Executions', '', {'limit': 1000})) - before, answered)
            self.started = before + answered

    def test_destinations(self):
        self.publish('demo', 1000000, event={'on_success': 'demo/echo'}, fail={'on_failure': 'demo/echo'})
        i, k = self.send('demo/event', {'a': 1}), self.send('demo/fail', b'\xff')
        done = lambda source: [e for e in self.host.ask('Executions', '', {'function': 'echo', 'status': 'done'})
                               if e['source'] == source]
        self.eventually(lambda: done('on_success') and done('on_failure'))
        d = self.execution(done('on_success')[0]['id'])['result']
        self.assertEqual((d['version'], d['requestContext']['requestId'], d['requestContext']['condition'],
                          d['requestContext']['approximateInvokeCount'], d['requestPayload'], d['responsePayload']),
                         ('1.0', i, 'Success', 1, {'a': 1}, {'a': 1}))
        d = self.execution(done('on_failure')[0]['id'])['result']
        self.assertEqual((d['requestContext']['requestId'], d['requestContext']['condition'],
                          d['requestContext']['approximateInvokeCount'], d['responsePayload']['errorType']),
                         (k, 'RetriesExhausted', 3, 'Oops'))

    def test_callback(self):
        self.assertEqual(self.ended(self.send('demo/event', callback='http://127.0.0.1:9/'))['status'], 'done')
        self.eventually(lambda: [e for e in self.host.ask('DeadLetters') if e['error'] == 'Denied'])


class Applications(Rig):
    """Machines ask."""

    def setUp(self):
        super().setUp()
        self.publish('shop', 2000000, allow=['demo'], topics=[('orders.*', 'echo'), ('*', 'event')])
        self.publish('shut', 3000000, topics=[('orders.*', 'echo')])
        self.machine_start('shop')
        self.demo = self.client(1000000)

    def test_who(self):
        with self.assertRaises((EOFError, OSError)):
            self.client(1000001).call('Send', 'echo')
        self.ended(self.send('empty', client=self.demo))
        i = self.send('shop/empty', client=self.demo)
        self.assertEqual(self.ended(i)['app'], 'shop')
        self.assertIn('"allow"', self.refused('Denied', 'Send', 'shut/empty', client=self.demo))
        for m in 'Execution', 'Executions', 'DeadLetter', 'Replay', 'Drop', 'Compare', 'State':
            self.refused('Denied', m, i, client=self.demo)
        user = Client(f'{self.dir}/host')
        user.close()

    def test_connections_of_one_machine(self):
        mine = [self.demo] + [self.client(1000000) for _ in range(7)]
        with self.assertRaises((EOFError, OSError)):
            self.client(1000000)
        self.client(2000000)  # others have theirs
        mine.pop().close()
        for _ in range(50):
            try:
                self.client(1000000)
                break
            except (EOFError, OSError):
                time.sleep(0.1)
        else:
            self.fail('no connection after another has ended')

    def test_call(self):
        self.assertEqual(self.demo.call('Invoke', 'shop/echo', b'hello'), b'hello')
        self.assertIn('caller=demo', self.demo.call('Invoke', 'shop/info', headers={'caller': 'forged'}).decode())
        self.refused('FunctionFailed', 'Invoke', 'shop/fail', client=self.demo)
        self.refused('Denied', 'Invoke', 'shut/echo', client=self.demo)
        self.refused('NotFound', 'Invoke', 'shop/nope', client=self.demo)
        self.refused('BadRequest', 'Invoke', 'shop/echo')

    def test_caller_of_events(self):
        """Nobody passes for another."""
        i = self.demo.ask('Send', 'shop/info', headers={'caller': 'forged'})['id']
        text = base64.b64decode(self.ended(i)['result_base64']).decode()
        self.assertNotIn('forged', text)

    def test_emit(self):
        self.assertEqual(self.demo.ask('Emit', 'orders.new', {'n': 1})['events'], 2)
        got = lambda: self.host.ask('Executions', '', {'app': 'shop', 'status': 'done'})
        self.eventually(lambda: len(got()) == 2)
        for e in got():
            event = self.execution(e['id'])['result']
            self.assertEqual((event['specversion'], event['source'], event['type'], event['data']),
                             ('1.0', '/apps/demo', 'orders.new', {'n': 1}))
        self.assertEqual(self.demo.ask('Emit', 'other', b'\xff', 'image/png')['events'], 1)
        self.assertEqual(self.host.ask('Emit', 'shut//orders.x')['events'], 1)
        self.refused('BadRequest', 'Emit', 'orders/new', client=self.demo)
        self.refused('TooLarge', 'Emit', 'orders.new', b'"' + b'x' * (2 << 20) + b'"', client=self.demo)

    def test_emit_once(self):
        """A key is of the whole event: each function has it once."""
        for _ in range(2):
            self.demo.ask('Emit', 'orders.new', {}, headers={'sand-idempotency-key': 'k'})
        self.eventually(lambda: len(self.host.ask('Executions', '', {'app': 'shop', 'status': 'done'})) == 2)
        time.sleep(0.3)
        self.assertEqual(len(self.host.ask('Executions', '', {'app': 'shop'})), 2)


    def test_callback_forms(self):
        """Addresses that lead to local ones are local."""
        for a in '[::1]', '[::ffff:127.0.0.1]', '[64:ff9b::7f00:1]', '[64:ff9b::a9fe:a9fe]', '[2002:7f00:1::]', '0.0.0.0', \
                '2130706433', '[fe80::1]':
            self.ended(self.send('demo/event', callback=f'http://{a}:9/'))
        letters = lambda: [e['error'] for e in self.host.ask('DeadLetters')]
        self.eventually(lambda: len(letters()) == 8)
        self.assertEqual(set(letters()), {'Denied'})


class Bounds(Rig):
    settings = '[Events]\nEventsInFlightMax=1\n'

    def test_others_are_served(self):
        """Who finds no room because of others is served when they have ended."""
        slow = self.send('demo/delay', b'500')
        other = self.send('demo/empty')
        self.assertEqual(self.ended(slow)['status'], 'done')
        self.assertEqual(self.ended(other, 5)['status'], 'done')


class Shares(Rig):
    settings = '[Events]\nEventsInFlightMax=8\n'

    def test_shares(self):
        """Who has much to do leaves room for others."""
        self.publish('demo', 1000000, most=100)
        self.publish('other', 2000000)
        self.machine_start('other')
        for k in [self.host.begin('Send', 'demo/delay', b'1500') for _ in range(20)]:
            self.host.end(k)
        time.sleep(0.3)
        self.assertLessEqual(self.host.ask('State')['in_flight'], 4)
        self.assertEqual(self.ended(self.send('other/empty'), 1)['status'], 'done')
        self.eventually(lambda: len(self.host.ask('Executions', '', {'status': 'done'})) == 21)


class Ages(Rig):
    settings = '[Events]\nEventsInFlightMax=2\n'

    def test_waiting(self):
        """What finds no room is a dead letter when it is too old, not when there is room."""
        self.publish('demo', 1000000, most=1, delay={'on_failure': 'demo/echo'})
        slow = self.send('demo/delay', b'4000')
        old, waits = self.send('demo/delay', b'1', max_age_usec=300000), self.send('demo/delay', b'1')
        e = self.ended(old, 3)
        self.assertEqual((e['status'], e['error'], e['attempts']), ('dead', 'Timeout', 0))
        self.assertEqual([self.execution(i)['status'] for i in (slow, waits)], ['running', 'accepted'])
        self.assertEqual([self.ended(i)['status'] for i in (slow, waits)], ['done', 'done'])
        self.eventually(lambda: self.host.ask('Executions', '', {'function': 'echo', 'status': 'done'}))


class FullDisk(Rig):
    def start(self):
        if not os.path.ismount(f'{self.dir}/state'):
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3M', 'none', f'{self.dir}/state'], check=True)
        super().start()

    def setUp(self):
        super().setUp()
        self.addCleanup(lambda: subprocess.run(['umount', '-l', f'{self.dir}/state']))

    def fill(self):
        with open(f'{self.dir}/state/filler', 'wb', buffering=0) as f, self.assertRaises(OSError):
            while True:
                f.write(b'x' * 4096)

    def test_full(self):
        """What is refused says so, what was under way ends, and space is used again."""
        slow = self.send('demo/delay', b'1000')
        self.fill()
        self.assertIn('full', self.refused('Unavailable', 'Send', 'demo/echo', b'x' * 200000))
        time.sleep(1.5)
        os.unlink(f'{self.dir}/state/filler')
        e = self.ended(slow)
        self.assertEqual((e['status'], e['attempts']), ('done', 1))
        self.ended(self.send('demo/empty'))

    def test_patience(self):
        """What is due while the disk is full is tried now and then, not all the time."""
        i = self.send('demo/empty', delay_usec=1000000)
        self.fill()
        time.sleep(1.5)
        before = self.host.ask('State')['batches']
        time.sleep(1)
        self.assertEqual(self.execution(i)['status'], 'accepted')
        self.assertLess(self.host.ask('State')['batches'] - before, 20)
        os.unlink(f'{self.dir}/state/filler')
        self.assertEqual(self.ended(i)['status'], 'done')


class Callbacks(Rig):
    def setUp(self):
        self.posts = posts = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                posts.append((self.headers, self.rfile.read(int(self.headers['Content-Length']))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.secret = tempfile.NamedTemporaryFile()
        self.secret.write(b'hush\n')
        self.secret.flush()
        self.settings = f'[Callback]\nAllowLocal=yes\nSecretFile={self.secret.name}\n'
        super().setUp()

    def test_signed(self):
        i = self.send('demo/event', {'a': 1}, callback=f'http://127.0.0.1:{self.server.server_port}/x')
        self.eventually(lambda: self.posts)
        headers, body = self.posts[0]
        self.assertEqual((json.loads(body)['id'], json.loads(body)['result']), (i, {'a': 1}))
        t, v1 = (p.split('=')[1] for p in headers['Sand-Signature'].split(','))
        self.assertEqual(v1, hmac.new(b'hush', t.encode() + b'.' + body, hashlib.sha256).hexdigest())


if __name__ == '__main__':
    if os.geteuid() != 0:
        sys.exit(SKIPPED)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

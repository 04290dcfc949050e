#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later

"""sand-gatewayd as it is shipped, with real clients on one side and fake-machine on the other.

usage: test-gateway.py SAND-GATEWAYD FAKE-MACHINE"""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

GATEWAYD, MACHINE = sys.argv[1:3]
CRLF = b'\r\n'
POST = b'POST /invoke/demo/echo HTTP/1.1\r\n'
HOST = b'Host: x\r\n'


def request(function, body=b'', extra=b'', app=b'demo'):
    return (b'POST /invoke/%s/%s HTTP/1.1\r\n' % (app, function) + HOST + extra +
            b'Content-Length: %d\r\n\r\n' % len(body) + body)


class Answer:
    def __init__(self, head, body):
        lines = head.split(CRLF)
        self.status = int(lines[0].split()[1])
        self.headers = {k.decode().lower(): v.decode() for k, v in (l.split(b': ', 1) for l in lines[1:])}
        self.body = body

    def problem(self):
        return json.loads(self.body)


class Client:
    """A connection that says how it ended."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.buffer = b''

    def send(self, data):
        self.socket.sendall(data)
        return self

    def fill(self, timeout):
        self.socket.settimeout(timeout)
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError
        self.buffer += data

    def answer(self, timeout=10, head=False):
        while b'\r\n\r\n' not in self.buffer:
            self.fill(timeout)
        header, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        n = int((re.search(rb'Content-Length: (\d+)', header) or [0, 0])[1])
        if head or header.startswith(b'HTTP/1.1 100'):
            n = 0
        while len(self.buffer) < n:
            self.fill(timeout)
        body, self.buffer = self.buffer[:n], self.buffer[n:]
        return Answer(header, body)

    def ended(self, timeout=10):
        try:
            self.fill(timeout)
        except (EOFError, ConnectionResetError):
            return True
        except TimeoutError:
            return False
        return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Gateway(unittest.TestCase):
    config = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='sand-gateway-')
        self.addCleanup(shutil.rmtree, self.dir)
        for d in ('catalogue', 'app'):
            os.mkdir(f'{self.dir}/{d}')
        self.publish('demo')
        self.machine = None
        self.machine_start()
        self.addCleanup(self.machine_stop)
        with socket.create_server(('127.0.0.1', 0)) as s:
            self.address = s.getsockname()
        self.gateway = subprocess.Popen(
            [GATEWAYD, '--quiet', f'--listen=127.0.0.1:{self.address[1]}', f'--listen={self.dir}/http.sock',
             f'--catalogue={self.dir}/catalogue', f'--app-sockets={self.dir}/app'])
        self.addCleanup(self.gateway_end)
        for _ in range(200):
            try:
                socket.create_connection(self.address).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        self.fail('the gateway does not listen')

    def machine_start(self):
        self.machine = subprocess.Popen([MACHINE, f'{self.dir}/app/demo.sock'], stdout=subprocess.PIPE)
        self.machine.stdout.readline()

    def machine_stop(self):
        self.machine.kill()
        self.machine.wait()
        self.machine.stdout.close()

    def gateway_end(self):
        """What the sanitizers find is in the exit status."""
        self.gateway.terminate()
        self.assertEqual(self.gateway.wait(40), 0)

    def publish(self, name):
        functions = ('echo', 'empty', 'info', 'count', 'delay', 'big', 'fail', 'error', 'garbage', 'never', 'die',
                     'goaway', 'small')
        entry = {'name': name, 'version': '1-aa', 'hash': '0' * 64, 'uid_base': 1000000, 'functions': {
            f: {'runtime': 'exec', 'timeout_usec': 30000000, 'payload_max': 1000 if f == 'small' else 1 << 20,
                'queue_max': 1000} for f in functions}}
        with open(f'{self.dir}/catalogue/.new', 'w') as f:
            json.dump(entry, f)
        os.rename(f'{self.dir}/catalogue/.new', f'{self.dir}/catalogue/{name}.json')

    def client(self):
        return Client(self.address)

    def ask(self, data, **k):
        with self.client() as c:
            return c.send(data).answer(**k)

    def metric(self, name):
        text = self.ask(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n').body.decode()
        return sum(float(l.rsplit(' ', 1)[1]) for l in text.splitlines() if l.startswith(name))

    def eventually(self, what, seconds=10):
        end = time.time() + seconds
        while not what():
            self.assertLess(time.time(), end, 'does not happen')
            time.sleep(0.1)

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.gateway.pid}/fd'))

    # ---- what is served ----

    def test_answers(self):
        a = self.ask(request(b'echo', b'hello', b'Content-Type: image/png\r\n'))
        self.assertEqual((a.status, a.body, a.headers['content-type']), (200, b'hello', 'image/png'))
        self.assertRegex(a.headers['sand-execution'], '^[0-9a-f]{32}$')
        self.assertEqual(a.headers['server-timing'], 'run;dur=1.500')
        trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        a = self.ask(request(b'info', b'', b'traceparent: %s\r\n' % trace.encode()))
        execution, rest = a.body.decode().split(' ', 1)
        self.assertEqual(execution, a.headers['sand-execution'])
        self.assertTrue(rest.endswith(f' 0\ntraceparent={trace}\n'))
        a = self.ask(request(b'info', b'', b'traceparent: nonsense\r\nSand-Timeout: 5s\r\n'))
        self.assertNotIn(b'traceparent', a.body)
        self.assertNotIn(b' 0\n', a.body)
        self.assertEqual(self.ask(request(b'empty')).body, b'')
        for n in (1, 100000, 1 << 20):
            body = random.randbytes(n)
            self.assertEqual(self.ask(request(b'echo', body)).body, body)
        self.assertEqual(len(self.ask(request(b'big', b'3000000')).body), 3000000)
        self.assertEqual(self.ask(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n').body, b'{"status":"ok"}\n')
        self.assertEqual(self.ask(b'HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n', head=True).status, 200)
        self.assertEqual(self.metric('sand_invocations_total{app="demo",function="empty",outcome="ok"}'), 1)

    def test_errors(self):
        for data, status, error in (
                (request(b'fail'), 500, 'Oops'),
                (request(b'error', b'Busy'), 429, 'Busy'),
                (request(b'error', b'Unavailable'), 503, 'Unavailable'),
                (request(b'error', b'Timeout'), 504, 'Timeout'),
                (request(b'error', b'LoadFailed'), 502, 'LoadFailed'),
                (request(b'garbage'), 502, 'Crashed'),
                (request(b'nope'), 404, 'NotFound'),
                (request(b'echo', app=b'nope'), 404, 'NotFound'),
                (b'GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n', 404, 'NotFound'),
                (b'POST /invoke/demo/ech%6f HTTP/1.1\r\nHost: x\r\n\r\n', 404, 'NotFound'),
                (b'GET /invoke/demo/echo HTTP/1.1\r\nHost: x\r\n\r\n', 405, 'BadRequest'),
                (request(b'echo', b'', b'Prefer: respond-async\r\n'), 400, 'BadRequest'),
                (request(b'echo', b'', b'Sand-Timeout: soon\r\n'), 400, 'BadRequest'),
                (request(b'echo', b'', b'Content-Type: \xff\r\n'), 400, 'BadRequest'),
                (request(b'small', b'x' * 1001), 413, 'TooLarge')):
            with self.subTest(data[:60]):
                a = self.ask(data)
                p = a.problem()
                self.assertEqual((a.status, p['status'], p['error']), (status, status, error))
                self.assertEqual(a.headers['content-type'], 'application/problem+json')
                self.assertEqual(a.headers['sand-execution'], p['execution'])
                self.assertTrue(p['detail'])
                self.assertEqual('retry-after' in a.headers, status in (429, 503))
                self.assertEqual(a.headers.get('allow'), 'POST' if status == 405 else None)
        self.assertEqual(self.ask(request(b'fail')).problem()['cause'], 'a cause')

    def test_keep_alive_and_pipelines(self):
        with self.client() as c:
            for i in range(3):
                self.assertEqual(c.send(request(b'echo', b'%d' % i)).answer().body, b'%d' % i)
            c.send(b''.join(request(b'delay', b'%d' % (30 - i)) for i in range(20)))
            self.assertEqual([c.answer().body for _ in range(20)], [b'%d' % (30 - i) for i in range(20)])
            # What was refused is drained: the next request is where it belongs.
            c.send(request(b'small', b'x' * 5000) + request(b'nope', b'y' * 5000) + request(b'echo', b'z'))
            self.assertEqual([c.answer().status for _ in range(3)], [413, 404, 200])
            c.send(b'POST /invoke/demo/small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' +
                   b'7d0\r\n' + b'x' * 2000 + b'\r\n0\r\n\r\n' + request(b'echo', b'z'))
            self.assertEqual([c.answer().status for _ in range(2)], [413, 200])

    def test_large_headers_in_pieces(self):
        data = (b'POST /invoke/demo/echo?a=1&b=2&c=3 HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=d\r\n' +
                b''.join(b'Header-%d: %s\r\n' % (i, b'v' * 200) for i in range(60)) +
                b'Content-Length: 4\r\n\r\nabcd')
        with self.client() as c:
            for size in (97, 997, len(data)):
                for i in range(0, len(data), size):
                    c.send(data[i:i + size])
                    time.sleep(0.001)
                self.assertEqual(c.answer().body, b'abcd')
            c.send(data * 3)
            self.assertEqual([c.answer().body for _ in range(3)], [b'abcd'] * 3)

    def test_expect(self):
        with self.client() as c:
            c.send(POST + HOST + b'Content-Length: 5\r\nExpect: 100-continue\r\n\r\n')
            self.assertEqual(c.answer().status, 100)
            self.assertEqual(c.send(b'hello').answer().body, b'hello')
            c.send(b'POST /invoke/demo/small HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n')
            self.assertEqual(c.answer().status, 413)

    # ---- what is refused ----

    def test_ambiguous_requests(self):
        te, cl = b'Transfer-Encoding: chunked\r\n', b'Content-Length: 1\r\n'
        for data in (
                POST + HOST + cl + te, POST + HOST + te + cl, POST + HOST + cl + b'Content-Length: 2\r\n',
                POST + HOST + cl + cl, POST + HOST + b'Content-Length: 1, 1\r\n', POST + HOST + b'Content-Length: +1\r\n',
                POST + HOST + b'Content-Length: -1\r\n', POST + HOST + te + te, POST + HOST + b'Transfer-Encoding: gzip\r\n',
                POST + HOST + b'Transfer-Encoding: gzip, chunked\r\n', POST + HOST + HOST + cl, POST + cl,
                POST.replace(b'1.1', b'1.0') + te, POST.replace(b'1.1', b'1.2') + HOST + cl,
                POST + HOST + cl + b'X: a\r\n b\r\n', POST + HOST + cl + b'X: a\r\n \r\n',
                POST + HOST + cl + b'Transfer-Encoding:\r\n chunked\r\n', POST + b' ' + HOST + cl,
                POST + HOST + b'Content-Length: 1\nX: a\r\n', POST.replace(CRLF, b'\n') + HOST + cl,
                POST + HOST + b'Content-Length : 1\r\n', POST + HOST + b'X: a\0b\r\n' + cl, POST + HOST + b'X\0: a\r\n' + cl,
                POST + HOST + b'X: a\rContent-Length: 1\r\n', POST + HOST + b'Nonsense\r\n', POST + HOST + b': x\r\n' + cl,
                POST + HOST + b':\r\n' + cl, POST + HOST + b'X: \x01\r\n' + cl):
            with self.subTest(data), self.client() as c:
                self.assertEqual(c.send(data + b'\r\nx' + request(b'echo')).answer().status, 400)
                self.assertTrue(c.ended())
        with self.client() as c:
            self.assertEqual(c.send(POST + HOST + cl + b'\nx').answer().status, 400)
            self.assertTrue(c.ended())
        self.assertEqual(self.metric('sand_invocations_total{app="demo",function="echo",outcome="ok"}'), 0)

    def test_too_much(self):
        for data, status in ((b'GET /' + b'a' * 100000, 414), (POST + HOST + b'X: ' + b'a' * 100000, 431),
                             (POST + HOST + b''.join(b'X%d: y\r\n' % i for i in range(5000)), 431),
                             (POST + HOST + b'Content-Length: 20000000000\r\n\r\nx', 413)):
            with self.subTest(data[:40]), self.client() as c:
                self.assertEqual(c.send(data).answer().status, status)
                self.assertTrue(c.ended())

    def test_garbage(self):
        self.ask(request(b'echo', b'x'))
        self.eventually(lambda: self.metric('sand_http_connections ') == 1)
        n = self.descriptors()
        random.seed(1)
        for _ in range(200):
            with self.client() as c:
                c.send(random.randbytes(random.randint(1, 3000)))
            data = bytearray(request(b'echo', b'hello'))
            for _ in range(random.randint(1, 5)):
                data[random.randrange(len(data))] = random.randrange(256)
            with self.client() as c:
                c.send(data)
        self.eventually(lambda: self.metric('sand_http_connections ') == 1)
        self.assertEqual(self.metric('sand_invocations_in_flight'), 0)
        self.eventually(lambda: self.descriptors() <= n)

    # ---- what goes away ----

    def test_client_hangs_up(self):
        clients = [self.client().send(request(b'delay', b'20000')) for _ in range(20)]
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 20)
        for c in clients:
            c.close()
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 0)
        self.assertEqual(self.metric('sand_invocations_total{app="demo",function="delay",outcome="Cancelled"}'), 20)
        # In mid-header and mid-body, its end together with the last bytes.
        for _ in range(50):
            self.client().send(b'POST /inv').close()
            self.client().send(request(b'echo', b'x' * 100)[:-50]).close()
        self.eventually(lambda: self.metric('sand_http_connections ') == 1)

    def test_machine_dies(self):
        self.assertEqual(self.ask(request(b'echo', b'x')).status, 200)
        slow = [self.client().send(request(b'delay', b'20000')) for _ in range(5)]
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 5)
        self.assertEqual(self.ask(request(b'die')).status, 502)
        for c in slow:
            self.assertEqual(c.answer().problem()['error'], 'Crashed')
            c.close()
        a = self.ask(request(b'echo'))
        self.assertEqual(a.status, 503)
        self.assertIn('sand-app@demo.socket', a.problem()['detail'])
        self.machine_stop()
        self.machine_start()
        with self.client() as c:
            for function in (b'echo', b'goaway', b'echo'):
                self.assertEqual(c.send(request(function, b'x')).answer().body, b'x')

    def test_timeout(self):
        a = self.ask(request(b'never', b'', b'Sand-Timeout: 200ms\r\n'))
        self.assertEqual((a.status, a.problem()['error']), (504, 'Timeout'))

    def test_catalogue_is_followed(self):
        os.symlink('demo.sock', f'{self.dir}/app/other.sock')
        echo = request(b'echo', b'x', app=b'other')
        with self.client() as c:
            for _ in range(20):
                self.publish('other')
                self.assertEqual(c.send(echo).answer().status, 200)
                with self.client() as slow:
                    slow.send(request(b'delay', b'100', app=b'other'))
                    time.sleep(0.02)
                    os.unlink(f'{self.dir}/catalogue/other.json')
                    self.eventually(lambda: c.send(echo).answer().status == 404)
                    self.assertEqual(slow.answer().status, 200)
        self.assertEqual(self.metric('sand_applications '), 1)
        self.assertEqual(self.metric('sand_invocations_total{app="other"'), 0)

    def test_slow_clients(self):
        c = [self.client() for _ in range(50)]
        start = time.time()
        alive = set(c)
        while alive and time.time() - start < 15:
            for x in list(alive):
                try:
                    x.send(b'P')
                    x.fill(0.001)
                except TimeoutError:
                    pass
                except (EOFError, OSError):
                    alive.discard(x)
                    x.close()
            time.sleep(0.1)
        self.assertFalse(alive)
        self.assertGreater(time.time() - start, 9)

    def test_stops_without_losing_a_request(self):
        slow = self.client().send(request(b'delay', b'800'))
        idle = self.client().send(request(b'echo', b'x'))
        self.assertEqual(idle.answer().status, 200)
        fresh = self.client()
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 1)
        self.gateway.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        self.assertEqual(fresh.send(request(b'echo', b'y')).answer().body, b'y')
        self.assertTrue(idle.ended())
        a = slow.answer()
        self.assertEqual((a.status, a.headers['connection']), (200, 'close'))
        self.assertEqual(self.gateway.wait(10), 0)
        for c in (slow, idle, fresh):
            c.close()

    def test_nothing_grows(self):
        def use(n):
            with self.client() as c:
                for i in range(n):
                    c.send(request(b'echo', b'x' * 100))
                    c.answer()
                    if i % 50 == 0:
                        self.ask(request(b'big', b'600000'))
                        self.ask(request(b'fail'))

        def size():
            with open(f'/proc/{self.gateway.pid}/statm') as f:
                return int(f.read().split()[1]) * 4

        use(2000)
        descriptors, rss = self.descriptors(), size()
        use(6000)
        self.assertLessEqual(self.descriptors(), descriptors + 1)
        with open(f'/proc/{self.gateway.pid}/maps') as f:
            sanitized = 'asan' in f.read()
        if not sanitized:
            self.assertLess(size(), rss + 1024)

    def test_refuses_other_hosts(self):
        for address in ('0.0.0.0:0', '[::]:0', '192.0.2.1:80', 'example.org:80', '127.0.0.1', '127.0.0.1:99999', ''):
            with self.subTest(address):
                r = subprocess.run([GATEWAYD, f'--listen={address}', f'--catalogue={self.dir}/catalogue'],
                                   capture_output=True, text=True)
                self.assertEqual(r.returncode, 1)
                self.assertRegex(r.stderr, 'Refusing to listen|--listen takes')


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=1)

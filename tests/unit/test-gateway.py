#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later

"""sand-gatewayd as it is shipped, with real clients on one side and fake-machine on the other, in part with sand-globald in
between.

usage: test-gateway.py SAND-GATEWAYD FAKE-MACHINE SAND-GLOBALD [TEST...]"""

import base64
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

GATEWAYD, MACHINE, GLOBALD = sys.argv[1:4]
CRLF = b'\r\n'
POST = b'POST /invoke/demo/echo HTTP/1.1\r\n'
HOST = b'Host: x\r\n'
CORS = {'origins': ['https://a.example', 'http://b.example:8080'], 'headers': ['X-A', 'Content-Type'],
        'expose_headers': ['ETag'], 'max_age_usec': 600000000, 'credentials': True}
ROUTES = (
    ('GET /', 'event', None),
    ('GET /event/{id}', 'event', CORS),
    ('POST /event/{id}', 'event', None),
    ('PUT /answer', 'answer', {'origins': ['*'], 'methods': ['*'], 'headers': ['*'], 'credentials': False}),
    ('POST /answer', 'answer', None),
    ('GET /answer', 'answer', None),
    ('POST /cgi', 'echo', None),
    ('ANY /vars/{rest+}', 'vars', None),
    ('POST /small', 'small', None),
    ('GET /fail', 'fail', CORS),
    ('POST /later/{id}', 'event', None, True),
    ('POST /laterprogram', 'vars', None, True),
    ('OPTIONS /plain', 'event', None))


def request(function, body=b'', extra=b'', app=b'demo'):
    return (b'POST /invoke/%s/%s HTTP/1.1\r\n' % (app, function) + HOST + extra +
            b'Content-Length: %d\r\n\r\n' % len(body) + body)


def web(method, path, body=b'', extra=b''):
    length = b'Content-Length: %d\r\n' % len(body) if body else b''
    return method + b' /web/demo' + path + b' HTTP/1.1\r\n' + HOST + extra + length + CRLF + body


class Answer:
    def __init__(self, head, body):
        lines = head.split(CRLF)
        self.status = int(lines[0].split()[1])
        self.lines = [l.decode('latin-1') for l in lines[1:]]
        self.headers = {k.decode().lower(): v.decode() for k, v in (l.split(b': ', 1) for l in lines[1:])}
        self.body = body

    def problem(self):
        return json.loads(self.body)


class Client:
    """A connection that says how it ended."""

    def __init__(self, address, source=None, window=None):
        self.socket = socket.socket()
        if source:
            self.socket.bind((source, 0))
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.connect(address)
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


class Rig(unittest.TestCase):
    """A gateway, one application, and what stands behind it."""

    arguments = ()
    settings = ''
    machine = events = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='sand-gateway-')
        self.addCleanup(shutil.rmtree, self.dir)
        for d in ('catalogue', 'app', 'tokens'):
            os.makedirs(f'{self.dir}/{d}')
        self.configure(self.settings)
        self.publish('demo')
        self.machine_start()
        self.addCleanup(self.machine_stop)
        with socket.create_server(('127.0.0.1', 0)) as s:
            self.address = s.getsockname()
        self.gateway = self.start(
            [GATEWAYD, '--quiet', f'--listen=127.0.0.1:{self.address[1]}', f'--listen={self.dir}/http.sock',
             f'--catalogue={self.dir}/catalogue', f'--app-sockets={self.dir}/app', f'--tokens={self.dir}/tokens',
             f'--config={self.dir}/gatewayd.conf', f'--events={self.dir}/events', *(a.format(self=self) for a in self.arguments)])
        self.addCleanup(self.gateway_end)
        self.listens(self.address)

    def start(self, command):
        return subprocess.Popen(command)

    def listens(self, address):
        for _ in range(200):
            try:
                socket.create_connection(address).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        self.fail('the gateway does not listen')

    def configure(self, settings):
        with open(f'{self.dir}/gatewayd.conf', 'w') as f:
            f.write(f'[Gateway]\n{settings}\n'.format(self=self))

    def reload(self):
        self.gateway.send_signal(signal.SIGHUP)
        time.sleep(0.3)

    def machine_start(self):
        self.machine = subprocess.Popen([MACHINE, f'{self.dir}/app/demo.sock'], stdout=subprocess.PIPE)
        self.machine.stdout.readline()

    def machine_stop(self):
        self.machine.kill()
        self.machine.wait()
        self.machine.stdout.close()

    def events_start(self):
        self.events = subprocess.Popen([MACHINE, f'{self.dir}/events'], stdout=subprocess.PIPE)
        self.addCleanup(self.events_stop, self.events)
        self.events.stdout.readline()

    def events_stop(self, process):
        process.kill()
        process.wait()
        process.stdout.close()

    def gateway_end(self):
        """What the sanitizers find is in the exit status."""
        self.gateway.terminate()
        self.assertEqual(self.gateway.wait(40), 0)

    def publish(self, name, routes=ROUTES):
        functions = ('echo', 'empty', 'info', 'count', 'delay', 'big', 'fail', 'error', 'garbage', 'never', 'die',
                     'goaway', 'small', 'event', 'answer', 'vars')
        entry = {'name': name, 'version': '1-aa', 'hash': '0' * 64, 'uid_base': 1000000, 'functions': {
            f: {'runtime': 'native' if f in ('small', 'event', 'answer', 'fail') else 'exec', 'timeout_usec': 30000000,
                'payload_max': 1000 if f == 'small' else 1 << 20, 'queue_max': 1000} for f in functions},
            'routes': [dict({'http': h, 'target': t}, **({'cors': c} if c else {}), **({'async': True} if a else {}))
                       for h, t, c, *a in routes]}
        with open(f'{self.dir}/catalogue/.new', 'w') as f:
            json.dump(entry, f)
        os.rename(f'{self.dir}/catalogue/.new', f'{self.dir}/catalogue/{name}.json')

    def client(self, *a, **k):
        c = Client(self.address, *a, **k)
        self.addCleanup(c.close)
        return c

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


class Gateway(Rig):
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

    # ---- triggers ----

    def test_web_event(self):
        a = self.ask(web(b'GET', b'/event/a%20b?x=1&x=2&y=%C3%A9', extra=b'Cookie: a=1; b=2\r\nX-A: 1\r\nx-a: 2\r\n'
                         b'User-Agent: test\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n'))
        self.assertEqual((a.status, a.headers['content-type']), (200, 'application/json'))
        e = json.loads(a.body)
        now = time.time()
        self.assertLess(abs(now - e['requestContext'].pop('timeEpoch') / 1000), 60)
        self.assertRegex(e['requestContext'].pop('time'), r'^\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000$')
        self.assertEqual(e['requestContext'].pop('requestId'), a.headers['sand-execution'])
        self.assertEqual(e, {
            'version': '2.0', 'routeKey': 'GET /event/{id}', 'rawPath': '/event/a%20b',
            'rawQueryString': 'x=1&x=2&y=%C3%A9', 'cookies': ['a=1', 'b=2'],
            'headers': {'host': 'x', 'x-a': '1,2', 'user-agent': 'test', 'x-forwarded-for': '192.0.2.1,127.0.0.1',
                        'x-forwarded-proto': 'https', 'x-forwarded-port': '80'},
            'queryStringParameters': {'x': '1,2', 'y': 'é'}, 'pathParameters': {'id': 'a b'}, 'isBase64Encoded': False,
            'requestContext': {
                'accountId': 'anonymous', 'apiId': 'demo', 'domainName': 'x', 'domainPrefix': 'x',
                'routeKey': 'GET /event/{id}', 'stage': '$default',
                'http': {'method': 'GET', 'path': '/event/a%20b', 'protocol': 'HTTP/1.1', 'sourceIp': '127.0.0.1',
                         'userAgent': 'test'}}})
        # A request after another on the same connection has a query of its own, or none.
        with self.client() as c:
            for query in (b'?a=b', b'', b'?', b'?c', b''):
                e = json.loads(c.send(web(b'GET', b'/' + query)).answer().body)
                self.assertEqual(e['rawQueryString'].encode(), query[1:])
        self.assertEqual(json.loads(self.ask(b'GET /web/demo HTTP/1.1\r\nHost: x\r\n\r\n').body)['rawPath'], '/')

    def test_web_bodies(self):
        every = bytes(range(256))
        for content_type, body in ((b'', every), (b'text/plain', every), (b'text/plain', 'é"\\\n\0'.encode()),
                                   (b'application/json', b'{"a": 1}'), (b'image/png', random.randbytes(300000))):
            with self.subTest(content_type):
                extra = b'Content-Type: %s\r\n' % content_type if content_type else b''
                e = json.loads(self.ask(web(b'POST', b'/event/1', body, extra)).body)
                back = base64.b64decode(e['body']) if e['isBase64Encoded'] else e['body'].encode()
                self.assertEqual(back, body)
                self.assertEqual(e['isBase64Encoded'], body == every or len(body) > 1000)
                self.assertEqual(e['headers']['content-length'], str(len(body)))
        chunked = (b'POST /web/demo/event/1 HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n'
                   b'3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')
        self.assertEqual(json.loads(self.ask(chunked).body)['body'], 'abcde')

    def answer_to(self, said, method=b'POST', extra=b'', **k):
        """What the client gets of what the function says."""
        text = said if isinstance(said, bytes) else json.dumps(said).encode()
        return self.ask(web(method, b'/answer', text, b'Content-Type: application/json\r\n' + extra), **k)

    def test_web_answers(self):
        a = self.answer_to({'statusCode': 201, 'headers': {'X-A': 'b', 'content-type': 'text/html', 'ETag': '"1"',
                                                           'Content-Length': '1000', 'Connection': 'upgrade',
                                                           'Sand-Execution': 'mine'},
                            'cookies': ['a=1; Path=/', 'b=2'], 'body': 'é\n'})
        self.assertEqual((a.status, a.body, a.headers['content-type'], a.headers['x-a'], a.headers['etag']),
                         (201, 'é\n'.encode(), 'text/html', 'b', '"1"'))
        self.assertEqual([l for l in a.lines if l.startswith('Set-Cookie')], ['Set-Cookie: a=1; Path=/', 'Set-Cookie: b=2'])
        self.assertNotIn('connection', a.headers)
        self.assertRegex(a.headers['sand-execution'], '^[0-9a-f]{32}$')
        self.assertEqual(sum(l.startswith('Sand-Execution') for l in a.lines), 1)
        for said, status, body in (({'statusCode': 204}, 204, b''), ({'statusCode': 204, 'body': 'x'}, 204, b''),
                                   ({'statusCode': 404, 'body': 'no'}, 404, b'no'), ({'a': 1}, 200, b'{"a": 1}'),
                                   ('hi', 200, b'"hi"'), ([1], 200, b'[1]'),
                                   ({'statusCode': 200, 'isBase64Encoded': True,
                                     'body': base64.b64encode(bytes(range(256))).decode()}, 200, bytes(range(256)))):
            with self.subTest(said):
                a = self.answer_to(said)
                self.assertEqual((a.status, a.body), (status, body))
        self.assertEqual(self.answer_to({'statusCode': 304}, head=True).status, 304)
        large = 'x' * 500000 + 'é'
        self.assertEqual(self.answer_to(json.dumps({'statusCode': 200, 'body': large}, ensure_ascii=False).encode()).body,
                         large.encode())
        self.assertEqual(self.answer_to({'statusCode': 200, 'body': large}).body, large.encode())

    def test_web_bad_answers(self):
        for said in (b'{', {'statusCode': 99}, {'statusCode': 200, 'body': {}}, {'statusCode': 200, 'headers': {'a': 'b\r\nc: d'}},
                     {'statusCode': 200, 'cookies': ['a\nb: c']}, {'statusCode': 200, 'headers': {'a\r\nb': 'c'}},
                     {'statusCode': 200, 'headers': {'a': 'x' * 20000}}):
            with self.subTest(said):
                a = self.answer_to(said)
                self.assertEqual((a.status, a.problem()['error'], a.headers['content-type']),
                                 (502, 'BadAnswer', 'application/problem+json'))
        self.assertEqual(self.metric('sand_invocations_total{app="demo",function="answer",outcome="FunctionFailed"}'), 7)
        # As many headers as pass do arrive, unless the request's own are in the way.
        said = json.dumps({'statusCode': 200, 'headers': {f'X-{i}': 'y' * 90 for i in range(100)}}).encode()
        for n in range(0, 32000, 400):
            for extra in (b'X: %s\r\n' % (b'x' * n), b'X: 0123456789\r\n' * (n // 80)):
                a = self.ask(web(b'POST', b'/answer?' + b'a&' * (n // 800), said, b'Content-Type: text/plain\r\n' + extra))
                if n < 14000 or a.status == 200:
                    self.assertEqual((a.status, a.headers['x-99']), (200, 'y' * 90))
                elif a.status == 502:
                    self.assertIn("beside the request's", a.problem()['detail'])
                else:
                    self.assertEqual(a.status, 431)

    def test_web_cgi(self):
        every = bytes(range(256))
        a = self.ask(web(b'POST', b'/cgi', b'Status: 201 Made\nX-A: b\nSet-Cookie: a=1\nSet-Cookie: b=2\n'
                         b'Content-Type: image/png\n\n' + every))
        self.assertEqual((a.status, a.body, a.headers['content-type'], a.headers['x-a']), (201, every, 'image/png', 'b'))
        self.assertEqual([l for l in a.lines if l.startswith('Set-Cookie')], ['Set-Cookie: a=1', 'Set-Cookie: b=2'])
        large = random.randbytes(400000)
        self.assertEqual(self.ask(web(b'POST', b'/cgi', b'Content-Type: a/b\r\n\r\n' + large)).body, large)
        a = self.ask(web(b'POST', b'/cgi', b'Location: https://example.org/\n\n'))
        self.assertEqual((a.status, a.headers['location'], a.body), (302, 'https://example.org/', b''))
        self.assertNotIn('content-type', a.headers)
        for bad in (b'', b'nonsense', b'Content-Type: text/plain\n', b'a b: c\n\n'):
            self.assertEqual(self.ask(web(b'POST', b'/cgi', bad, b'Content-Length: 0\r\n' if not bad else b'')).status, 502)
        a = self.ask(web(b'HEAD', b'/vars/a%20b/c?d=e', extra=b'X-Y: z\r\nProxy: evil\r\nX_Y: no\r\n'), head=True)
        self.assertEqual((a.status, a.headers['content-type']), (200, 'text/plain'))
        a = self.ask(web(b'GET', b'/vars/a%20b/c?d=e', extra=b'X-Y: z\r\nProxy: evil\r\nX_Y: no\r\nX-L: caf\xe9\r\n'))
        lines = a.body.decode().splitlines()
        for line in ('REQUEST_METHOD=GET', 'QUERY_STRING=d=e', 'SCRIPT_NAME=/web/demo/vars', 'PATH_INFO=/a b/c',
                     'HTTP_X_Y=z', 'REMOTE_ADDR=127.0.0.1', 'HTTP_X_L=café', 'SERVER_PROTOCOL=HTTP/1.1'):
            self.assertIn(line, lines)
        self.assertFalse([l for l in lines if 'PROXY' in l or 'CONTENT_LENGTH' in l])
        # what a request's header may be at most does arrive
        self.assertEqual(self.ask(web(b'GET', b'/vars/x', extra=b'X: %s\r\n' % (b'\xe9' * 25000))).status, 200)

    def test_web_local_redirects(self):
        a = self.ask(web(b'POST', b'/cgi', b'Location: /web/demo/vars/x?y=z\n\n', b'Content-Type: a/b\r\nX-A: b\r\n'))
        lines = a.body.decode().splitlines()
        for line in ('REQUEST_METHOD=GET', 'QUERY_STRING=y=z', 'PATH_INFO=/x', 'HTTP_X_A=b'):
            self.assertIn(line, lines)
        self.assertFalse([l for l in lines if l.startswith('CONTENT_')])
        self.assertTrue(lines[0].startswith(a.headers['sand-execution']))
        e = json.loads(self.ask(web(b'POST', b'/cgi', b'Location: /web/demo/event/1?a\n\n')).body)
        self.assertEqual((e['rawPath'], e['rawQueryString'], e['requestContext']['http']['method']), ('/event/1', 'a', 'GET'))
        self.assertNotIn('body', e)
        self.assertEqual(self.ask(web(b'POST', b'/cgi', b'Location: /web/demo/nothing\n\n')).status, 404)
        self.assertEqual(self.ask(web(b'POST', b'/cgi', b'Location: /web/demo/cgi\n\n')).status, 405)
        a = self.ask(web(b'POST', b'/cgi', b'Location: /web/other/\n\n'))
        self.assertEqual((a.status, a.headers['location']), (302, '/web/other/'))
        with self.client() as c:
            for _ in range(3):
                c.send(web(b'POST', b'/cgi', b'Location: /web/demo/event/1\n\n'))
                self.assertEqual(c.answer().status, 200)
        self.assertEqual(self.metric('sand_invocations_in_flight'), 0)

    def test_web_refusals(self):
        for data, status, allow in (
                (web(b'GET', b'/nothing'), 404, None), (web(b'GET', b'/event'), 404, None), (web(b'GET', b'/event/'), 404, None),
                (web(b'DELETE', b'/event/1'), 405, 'GET, HEAD, POST'), (web(b'FOO', b'/event/1'), 405, 'GET, HEAD, POST'),
                (web(b'ANY', b'/event/1'), 405, 'GET, HEAD, POST'), (web(b'GET', b'/plain'), 405, 'OPTIONS'),
                (web(b'GET', b'/event/..'), 400, None), (web(b'GET', b'/event/%2e%2E/x'), 400, None),
                (web(b'GET', b'/event/%'), 400, None), (web(b'GET', b'/event/%00'), 400, None),
                (web(b'GET', b'/event/%0d%0a'), 400, None), (web(b'GET', b'/event/%ff'), 400, None),
                (web(b'GET', b'/event/\xff'), 400, None), (web(b'GET', b'/event/1?\xff'), 400, None),
                (web(b'GET', b'/event/' + b'x' * 100000), 414, None),
                (web(b'POST', b'/small', b'x' * 1001), 413, None), (web(b'POST', b'/small', b'x' * 999), 413, None),
                (b'GET /web/nope/x HTTP/1.1\r\nHost: x\r\n\r\n', 404, None),
                (b'GET /web/ HTTP/1.1\r\nHost: x\r\n\r\n', 404, None), (b'GET /web HTTP/1.1\r\nHost: x\r\n\r\n', 404, None),
                (web(b'GET', b'/fail'), 500, None)):
            with self.subTest(data[:60]):
                a = self.ask(data)
                self.assertEqual((a.status, a.headers.get('allow')), (status, allow))
                if status != 414:
                    self.assertEqual(a.problem()['status'], status)
        # Long, and still a path.
        long = b'/event/' + b'%41' * 8000
        self.assertEqual(json.loads(self.ask(web(b'GET', long)).body)['pathParameters'], {'id': 'A' * 8000})
        a = self.ask(web(b'HEAD', b'/event/1'), head=True)
        self.assertEqual(a.status, 200)
        self.assertGreater(int(a.headers['content-length']), 300)

    def test_web_cors(self):
        def preflight(path, origin, method, headers=None):
            extra = b'Origin: %s\r\nAccess-Control-Request-Method: %s\r\n' % (origin, method)
            if headers:
                extra += b'Access-Control-Request-Headers: %s\r\n' % headers
            a = self.ask(web(b'OPTIONS', path, extra=extra), head=True)
            return a.status, {k[26:] if k.startswith('access-control-allow') else k: v for k, v in a.headers.items()
                              if k.startswith('access-control') or k == 'vary'}

        def cors(a):
            return {k: v for k, v in a.headers.items() if k.startswith('access-control') or k == 'vary'}

        ours = {'access-control-allow-origin': 'https://a.example', 'access-control-allow-credentials': 'true',
                'access-control-expose-headers': 'ETag', 'vary': 'Origin'}
        status, found = preflight(b'/event/1', b'https://a.example', b'GET', b'x-a')
        self.assertEqual(status, 204)
        a = self.ask(web(b'OPTIONS', b'/event/1', extra=b'Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n'),
                     head=True)
        self.assertEqual(cors(a), ours | {'access-control-allow-methods': 'GET', 'access-control-max-age': '600',
                                          'access-control-allow-headers': 'X-A, Content-Type'})
        a = self.ask(web(b'OPTIONS', b'/event/1', extra=b'Origin: https://c.example\r\nAccess-Control-Request-Method: GET\r\n'),
                     head=True)
        self.assertEqual((a.status, cors(a)), (204, {'vary': 'Origin'}))
        # Not for a trigger without rules, nor for what is no preflight.
        self.assertEqual(preflight(b'/event/1', b'https://a.example', b'POST')[0], 405)
        self.assertEqual(self.ask(web(b'OPTIONS', b'/event/1', extra=b'Origin: https://a.example\r\n')).status, 405)
        self.assertEqual(self.ask(web(b'OPTIONS', b'/plain')).status, 200)
        self.assertEqual(cors(self.ask(web(b'GET', b'/event/1', extra=b'Origin: https://a.example\r\n'))), ours)
        self.assertEqual(cors(self.ask(web(b'GET', b'/event/1', extra=b'Origin: https://c.example\r\n'))), {'vary': 'Origin'})
        self.assertEqual(cors(self.ask(web(b'GET', b'/event/1'))), {'vary': 'Origin'})
        self.assertEqual(cors(self.ask(web(b'POST', b'/event/1', b'x', b'Origin: https://a.example\r\n'))), {})
        # A browser may read what went wrong; and the function has no say.
        a = self.ask(web(b'GET', b'/fail', extra=b'Origin: https://a.example\r\n'))
        self.assertEqual((a.status, cors(a)), (500, ours))
        said = {'statusCode': 200, 'headers': {'Access-Control-Allow-Origin': 'x', 'access-control-max-age': '1'}}
        a = self.answer_to(said, b'PUT', b'Origin: https://any.example\r\n')
        self.assertEqual(cors(a), {'access-control-allow-origin': '*'})
        self.assertEqual(cors(self.answer_to(said)), {'access-control-allow-origin': 'x', 'access-control-max-age': '1'})
        a = self.ask(web(b'OPTIONS', b'/answer', extra=b'Origin: https://any.example\r\nAccess-Control-Request-Method: PUT\r\n'
                         b'Access-Control-Request-Headers: x-b\r\n'), head=True)
        self.assertEqual(cors(a), {'access-control-allow-origin': '*', 'access-control-allow-methods': '*',
                                   'access-control-allow-headers': '*'})

    def test_web_routes_are_followed(self):
        self.assertEqual(self.ask(web(b'GET', b'/new')).status, 404)
        self.publish('demo', ROUTES + (('GET /new', 'event', None),))
        self.assertEqual(self.ask(web(b'GET', b'/new')).status, 200)
        # A request keeps its route while the catalogue changes under it.
        with self.client() as c:
            c.send(web(b'POST', b'/event/1', b'x' * 100)[:-50])
            time.sleep(0.1)
            self.publish('demo', (('GET /new', 'event', None),))
            self.eventually(lambda: self.ask(web(b'GET', b'/event/1')).status == 404)
            self.assertEqual(json.loads(c.send(b'x' * 50).answer().body)['routeKey'], 'POST /event/{id}')
        # What an older hostd published has no routes, and serves.
        self.publish('demo', ())
        path = f'{self.dir}/catalogue/demo.json'
        with open(path) as f:
            entry = json.load(f)
        del entry['routes']
        with open(f'{self.dir}/catalogue/.new', 'w') as f:
            json.dump(entry, f)
        os.rename(f'{self.dir}/catalogue/.new', path)
        self.eventually(lambda: self.ask(web(b'GET', b'/new')).status == 404)
        self.assertEqual(self.ask(request(b'echo', b'x')).body, b'x')

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


def dbus_message(kind, serial, fields, body=b''):
    """A message of the D-Bus specification, little-endian; fields: code, type and value of each."""
    def text(v):
        return struct.pack('<I', len(v)) + v + b'\0'

    def aligned(data, n):
        return data + bytes(-len(data) % n)

    header = b''
    for code, signature, value in fields:
        header = aligned(header, 8) + bytes([code, 1]) + signature + b'\0'
        if signature == b'u':
            header = aligned(header, 4) + struct.pack('<I', value)
        elif signature == b'g':
            header += bytes([len(value)]) + value + b'\0'
        else:
            header = aligned(header, 4) + text(value)
    return aligned(struct.pack('<cBBBIII', b'l', kind, 1, 1, len(body), serial, len(header)) + header, 8) + body


class Machine(Rig):
    """A machine whose connections end as the test wants: what it says is written byte by byte."""

    WELCOME = b'DATA\r\nOK ' + b'0' * 32 + b'\r\nAGREE_UNIX_FD\r\n'
    GO_AWAY = dbus_message(4, 1, [(1, b'o', b'/org/sand/App1'), (2, b's', b'org.sand.App1'), (3, b's', b'GoAway')])

    def machine_start(self):
        self.machine = socket.socket(socket.AF_UNIX)
        self.machine.bind(f'{self.dir}/app/demo.sock')
        self.machine.listen(10)
        self.machine.settimeout(10)

    def machine_stop(self):
        self.machine.close()

    def accept(self, said=b''):
        c = self.machine.accept()[0]
        self.addCleanup(c.close)
        c.settimeout(10)
        c.sendall(self.WELCOME + said)
        data = b''
        while b'BEGIN\r\n' not in data:
            data += c.recv(65536)
        return c, data.split(b'BEGIN\r\n', 1)[1]

    @staticmethod
    def reply(call):
        """"ok" to the first of the calls in `call`."""
        body = struct.pack('<I', 10) + b'text/plain\0'
        body += bytes(-len(body) % 8) + struct.pack('<QQQ', 1, 1, 1) + b'\2ay\0' + struct.pack('<I', 2) + b'ok'
        return dbus_message(2, 2, [(5, b'u', struct.unpack_from('<I', call, 8)[0]), (8, b'g', b's(ttt)v')], body)

    def test_go_away_before_anything(self):
        c = self.client().send(request(b'echo', b'x'))
        self.accept(self.GO_AWAY)
        second, call = self.accept()
        second.sendall(self.reply(call or second.recv(65536)))
        a = c.answer()
        self.assertEqual((a.status, a.body), (200, b'ok'))

    def test_answers_of_one_that_takes_no_more(self):
        c = self.client().send(request(b'echo', b'x'))
        machine, call = self.accept()
        call = call or machine.recv(65536)
        for _ in range(20):
            self.client().send(request(b'echo', b'y' * 60000))
        time.sleep(0.5)
        machine.sendall(self.reply(call))
        machine.close()
        a = c.answer()
        self.assertEqual((a.status, a.body), (200, b'ok'))


class Bounds(Rig):
    """Who takes too much or too long. A neighbour at another address is served beside him."""

    settings = '''
MaxConnections=40
BodyMemoryMax=4M
AnswerMemoryMax=2M
RateMin=1K
HeaderTimeoutSec=2s
RequestTimeoutSec=8s
ResponseTimeoutSec=8s
'''
    HIM = '127.0.0.2'

    def neighbour_is_served(self, body=b'x'):
        start = time.time()
        self.assertEqual(self.ask(request(b'echo', body)).body, body)
        self.assertLess(time.time() - start, 0.9)

    def ends(self, c, data, pause):
        """How long a client that sends a byte now and then is listened to, and what it is told."""
        start = time.time()
        for i in range(len(data)):
            try:
                c.send(data[i:i + 1])
                c.fill(pause)
            except TimeoutError:
                continue
            except (EOFError, OSError):
                pass
            break
        return time.time() - start, c

    def refused_slowly(self, c, data, least, most):
        took, c = self.ends(c, data, 0.1)
        self.assertEqual(c.answer().status, 408)
        self.assertTrue(c.ended())
        self.assertGreater(took, least)
        self.assertLess(took, most)

    def test_dripping_header(self):
        self.refused_slowly(self.client(self.HIM), POST + HOST + b'X: ' + b'x' * 100, 1.5, 3.5)

    def test_dripping_later_header(self):
        c = self.client().send(request(b'echo', b'a'))
        self.assertEqual(c.answer().body, b'a')
        self.refused_slowly(c.send(POST), HOST + b'X: ' + b'x' * 100, 1.5, 3.5)

    def test_dripping_body(self):
        self.refused_slowly(self.client().send(POST + HOST + b'Content-Length: 5000\r\n\r\n'), b'x' * 100, 1.5, 3.5)
        self.assertEqual(self.metric('sand_http_connections_closed_total{reason="slow"}'), 1)

    def test_slow_but_steady_body(self):
        c = self.client().send(POST + HOST + b'Content-Length: 12000\r\n\r\n')
        for _ in range(12):
            time.sleep(0.25)
            c.send(b'x' * 1000)
        self.assertEqual(c.answer().body, b'x' * 12000)
        # and no longer than it may take in all
        c.send(POST + HOST + b'Content-Length: 100000\r\n\r\n')
        start = time.time()
        while time.time() - start < 12 and not c.buffer:
            try:
                c.send(b'x' * 1000)
                c.fill(0.25)
            except (TimeoutError, BrokenPipeError):
                pass
        self.assertEqual(c.answer().status, 408)
        self.assertGreater(time.time() - start, 7.5)
        self.assertLess(time.time() - start, 10)

    def test_slow_readers(self):
        start = time.time()
        deaf = self.client(self.HIM, 4096).send(request(b'big', b'900000'))
        slow = self.client(window=4096).send(request(b'big', b'900000'))
        while time.time() - start < 6: # who takes it, if slowly, gets on
            time.sleep(0.1)
            slow.fill(1)
        self.assertEqual(self.metric('sand_http_connections_closed_total{reason="slow"}'), 1)
        self.assertRaises((EOFError, OSError), deaf.answer)
        self.assertEqual(len(slow.answer().body), 900000)

    def test_silent_connections(self):
        his = [self.client(self.HIM) for _ in range(60)]
        for _ in range(5):
            self.neighbour_is_served()
        time.sleep(0.2)
        his += [self.client(self.HIM) for _ in range(10)]
        self.neighbour_is_served()
        self.assertLessEqual(self.metric('sand_http_connections '), 21)
        self.assertEqual(his[-1].send(request(b'echo', b'y')).answer().body, b'y')

    def test_busy_connections(self):
        his = [self.client(self.HIM).send(request(b'never')) for _ in range(20)]
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 20)
        self.neighbour_is_served()
        a = self.client(self.HIM).answer()
        self.assertEqual((a.status, a.problem()['error'], a.headers['retry-after']), (503, 'Busy', '1'))
        his.pop().close()
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 19)
        self.assertEqual(self.client(self.HIM).send(request(b'echo', b'z')).answer().body, b'z')

    def test_full_of_silent_connections_of_many(self):
        for i in range(2, 12):
            for _ in range(20):
                self.client(f'127.0.0.{i}')
        self.eventually(lambda: self.metric('sand_http_connections ') <= 40)
        time.sleep(0.2)
        for _ in range(5):
            self.neighbour_is_served()

    def test_memory_for_bodies(self):
        half = b'Content-Length: 800000\r\n\r\n' + b'x' * 700000
        held = self.client(self.HIM).send(POST + HOST + half)
        waits = self.client(self.HIM)
        self.eventually(lambda: self.metric('sand_http_connections ') == 3)
        waits.send(request(b'never', b'x' * 200000))
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 1)
        a = self.client(self.HIM).send(request(b'echo', b'x' * 300000)).answer()
        self.assertEqual((a.status, a.headers['retry-after']), (429, '1'))
        self.neighbour_is_served(b'y' * 500000)
        # What is answered is given back.
        self.assertEqual(held.send(b'x' * 100000).answer().body, b'x' * 800000)
        self.assertEqual(self.client(self.HIM).send(request(b'echo', b'x' * 600000)).answer().status, 200)

    def test_memory_for_answers(self):
        his = []
        for _ in range(3):
            his.append(self.client(self.HIM, 4096).send(request(b'big', b'1000000')))
            time.sleep(0.1)
        self.assertEqual(self.metric('sand_http_connections_closed_total{reason="full"}'), 2)
        self.assertEqual(len(self.ask(request(b'big', b'1000000')).body), 1000000)
        self.assertRaises((EOFError, OSError), his[0].answer)
        self.assertEqual(len(his[2].answer().body), 1000000)


class Local(Rig):
    """Who comes by loopback or a unix socket."""

    def unix(self, data):
        with Client(self.address) as c:
            c.socket.close()
            c.socket = socket.socket(socket.AF_UNIX)
            c.socket.connect(f'{self.dir}/http.sock')
            return c.send(data).answer()

    def test_pages_of_other_origins(self):
        for origin, status in ((b'http://evil.example', 403), (b'http://evil.example:8080', 403), (b'null', 403), (b'', 403),
                               (b'http://127.evil.example', 403), (b'http://localhost.evil.example', 403),
                               (b'http://xlocalhost', 403), (b'http://.localhost', 403), (b'ftp://localhost', 403),
                               (b'http://x', 403), (b'http://localhost', 200), (b'https://localhost:3000', 200),
                               (b'http://app.localhost:3000', 200), (b'http://127.0.0.1:8080', 200), (b'http://[::1]:80', 200)):
            with self.subTest(origin):
                header = b'Origin: %s\r\n' % origin
                self.assertEqual(self.ask(request(b'echo', b'x', header)).status, status)
                self.assertEqual(self.unix(request(b'echo', b'x', header)).status, 200)
                self.assertEqual(self.ask(web(b'GET', b'/', extra=header)).status, 200)
        self.configure('TrustForwarded=yes')
        self.reload()
        self.assertEqual(self.ask(request(b'echo', b'x', b'Origin: https://a.example\r\n')).status, 200)

    def source(self, ask, *forwarded, proto=None):
        extra = b''.join(b'X-Forwarded-For: %s\r\n' % f for f in forwarded)
        extra += b'X-Forwarded-Proto: %s\r\n' % proto if proto else b''
        e = json.loads(ask(web(b'GET', b'/', extra=extra)).body)
        return (e['requestContext']['http']['sourceIp'], e['headers']['x-forwarded-for'], e['headers']['x-forwarded-proto'],
                e['headers']['x-forwarded-port'])

    def test_whom_a_proxy_speaks_for(self):
        local = ('127.0.0.1', '192.0.2.1,127.0.0.1', 'http', '80')
        self.assertEqual(self.source(self.ask, b'192.0.2.1'), local)
        for ask in (self.unix, self.ask):
            self.assertEqual(self.source(ask, b'192.0.2.1'), ('192.0.2.1', '192.0.2.1', 'http', '80'))
            self.assertEqual(self.source(ask, b'10.0.0.1, 192.0.2.1', proto=b'https'),
                             ('192.0.2.1', '10.0.0.1, 192.0.2.1', 'https', '443'))
            self.assertEqual(self.source(ask, b'10.0.0.1', b'2001:db8::1')[0], '2001:db8::1')
            self.assertEqual(self.source(ask, b'[2001:db8::1]:443')[0], '2001:db8::1')
            self.assertEqual(self.source(ask, b'192.0.2.1:443')[0], '192.0.2.1')
            for nonsense in (b'unknown', b'192.0.2.1,', b'a' * 500, b'[', b':', b'1.2.3.4.5'):
                self.assertEqual(self.source(ask, nonsense)[0], '127.0.0.1')
            a = ask(b'GET /web/demo/vars/x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9\r\n'
                    b'X-Forwarded-Proto: https\r\n\r\n')
            for line in (b'REMOTE_ADDR=192.0.2.9\n', b'HTTPS=on\n', b'SERVER_PORT=443\n'):
                self.assertIn(line, a.body)
            self.configure('TrustForwarded=yes')
            self.reload()

    def test_tokens_asked_of_everybody(self):
        self.assertEqual(self.ask(request(b'echo', b'x')).status, 200)
        self.configure('RequireTokens=yes')
        self.reload()
        token = b'sand_' + b'a' * 43
        for ask in (self.ask, self.unix):
            a = ask(request(b'echo', b'x', b'Origin: http://x\r\n'))
            self.assertEqual((a.status, a.headers['www-authenticate']), (401, 'Bearer realm="sand"'))
        put_tokens(self.dir, 'demo', token)
        for ask in (self.ask, self.unix):
            self.assertEqual(ask(request(b'echo', b'x', bearer(token))).status, 200)
            self.assertEqual(ask(web(b'GET', b'/', extra=bearer(token))).status, 200)
            self.assertEqual(ask(web(b'GET', b'/')).status, 401)
            self.assertEqual(ask(execution('0' * 32)).status, 401)
            self.assertEqual(ask(emit()).status, 401)
            for path in (b'/healthz', b'/metrics'):
                self.assertEqual(ask(b'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' % path).status, 200)


ASYNC = b'Prefer: respond-async\r\n'
KEY = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
CE = (b'ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /shop\r\nce-type: orders.placed\r\n'
      b'Content-Type: application/json\r\n')


def execution(i, query='', extra=b''):
    return f'GET /executions/{i}{query} HTTP/1.1\r\n'.encode() + HOST + extra + CRLF


def emit(body=b'{"n":1}', extra=CE, app=b'demo'):
    return (b'POST /events/%s HTTP/1.1\r\n' % app + HOST + extra + b'Content-Length: %d\r\n\r\n' % len(body) + body)


class Events(Rig):
    """What is accepted now and delivered later."""

    def setUp(self):
        super().setUp()
        self.events_start()

    def sent(self, answer, ask=None):
        """What the event log was told, as its answer says."""
        a = (ask or self.ask)(execution(answer.problem()['id'], '?wait=5s'))
        self.assertEqual(a.status, 200)
        return a.problem()['result']

    def refused(self, data, status, detail):
        a = self.ask(data)
        self.assertEqual((a.status, a.headers['content-type']), (status, 'application/problem+json'), a.body)
        self.assertIn(detail, a.problem()['detail'])
        self.assertNotIn('location', a.headers)
        return a

    def test_accepts(self):
        a = self.ask(request(b'echo', b'hello', ASYNC + b'Content-Type: text/plain\r\ntraceparent: %s\r\n' % KEY.encode()))
        i = a.headers['sand-execution']
        self.assertRegex(i, '^[0-9a-f]{32}$')
        self.assertEqual((a.status, a.body), (202, b'{"id":"%s"}\n' % i.encode()))
        self.assertEqual(a.headers['location'], f'/executions/{i}')
        self.assertEqual(a.headers['preference-applied'], 'respond-async')
        self.assertNotIn('sand-duplicate', a.headers)
        self.assertEqual(self.sent(a), {'member': 'Send', 'target': 'demo/echo', 'execution': '', 'content_type': 'text/plain',
                                        'headers': {'traceparent': KEY}, 'payload': 'hello'})
        body = b'x' * (1 << 20)
        self.assertEqual(len(self.sent(self.ask(request(b'echo', body, ASYNC)))['payload']), len(body))
        self.refused(request(b'echo', body + b'x', ASYNC), 413, 'larger than')
        self.refused(request(b'nope', b'', ASYNC), 404, 'no function')
        self.assertEqual(self.metric('sand_events_total{app="demo",function="echo",outcome="ok"}'), 2)
        self.assertEqual(self.metric('sand_events_total{app="demo",function="echo",outcome="TooLarge"}'), 1)
        self.assertEqual(self.metric('sand_invocations_total{app="demo",function="echo"'), 0)
        self.assertEqual(self.metric('sand_invocations_in_flight{app="demo",function="echo"'), 0)

    def test_options(self):
        options = (b'Idempotency-Key: "a \\"b\\\\"\r\nSand-Delay: 1min 30s\r\nSand-Max-Age: 2h\r\n'
                   b'Sand-Callback: https://x.example/done?a=b\r\n')
        self.assertEqual(self.sent(self.ask(request(b'echo', b'', ASYNC + options)))['headers'], {
            'sand-idempotency-key': 'a "b\\', 'sand-delay-usec': '90000000', 'sand-max-age-usec': '7200000000',
            'sand-callback': 'https://x.example/done?a=b'})
        for line in options.split(CRLF)[:-1]:
            self.refused(request(b'echo', b'', line + CRLF), 400, line.split(b':')[0].decode())
        for line in (b'Idempotency-Key: ', b'Idempotency-Key: ""', b'Idempotency-Key: "a', b'Idempotency-Key: "a"b',
                     b'Idempotency-Key: "a\\b"', b'Idempotency-Key: ' + b'k' * 257, b'Idempotency-Key: \xc3\xa4',
                     b'Sand-Delay: soon', b'Sand-Delay: infinity', b'Sand-Max-Age: -1', b'Sand-Callback: x.example',
                     b'Sand-Callback: ftp://x.example', b'Sand-Callback: http://', b'Sand-Callback: http:///x',
                     b'Sand-Callback: http://x/a b', b'Sand-Callback: http://x/' + b'a' * 2048):
            with self.subTest(line[:40]):
                self.refused(request(b'echo', b'', ASYNC + line + CRLF), 400, line.split(b':')[0].decode())
        self.assertEqual(self.ask(request(b'echo', b'', ASYNC + b'Idempotency-Key: ' + b'k' * 256 + CRLF)).status, 202)

    def test_the_same_key(self):
        first = self.ask(request(b'echo', b'1', ASYNC + b'Idempotency-Key: "k"\r\n'))
        again = self.ask(request(b'echo', b'2', ASYNC + b'Idempotency-Key: k\r\n'))
        self.assertEqual((again.status, again.body, again.headers['location']), (202, first.body, first.headers['location']))
        self.assertEqual((first.headers.get('sand-duplicate'), again.headers['sand-duplicate']), (None, 'true'))
        self.assertEqual(self.sent(again)['payload'], '1')

    def test_what_is_not_accepted(self):
        self.refused(request(b'error', b'Busy', ASYNC), 429, 'as asked')
        self.assertEqual(self.refused(request(b'error', b'Unavailable', ASYNC), 503, 'as asked').headers['retry-after'], '2')
        self.refused(request(b'garbage', b'', ASYNC), 503, 'not known')
        a = self.refused(request(b'die', b'', ASYNC), 503, 'not known')
        self.assertEqual((a.problem()['type'], a.headers['retry-after']), ('urn:sand:error:Unavailable', '2'))
        os.unlink(f'{self.dir}/events')
        self.assertEqual(self.refused(request(b'echo', b'', ASYNC), 503, 'nothing was accepted').headers['retry-after'], '2')
        self.assertEqual(self.ask(execution('0' * 32)).status, 503)
        self.assertEqual(self.ask(request(b'echo', b'x')).body, b'x')
        self.events_start()
        self.eventually(lambda: self.ask(request(b'echo', b'', ASYNC)).status == 202)
        self.assertEqual(self.metric('sand_events_total{app="demo",function="echo",outcome="Unavailable"}'), 1)

    def test_clients_hang_up(self):
        with self.client() as c:
            c.send(request(b'delay', b'', ASYNC))
            time.sleep(0.3)
        self.eventually(lambda: self.metric('sand_events_total{app="demo",function="delay",outcome="Cancelled"}') == 1)
        self.assertEqual(self.metric('sand_invocations_in_flight{app="demo",function="delay"'), 0)

    def test_triggers(self):
        a = self.ask(web(b'POST', b'/later/7?x=1', b'hello', b'Content-Type: text/plain\r\nIdempotency-Key: k\r\n'
                         b'Sand-Callback: http://inside.example/\r\nSand-Delay: 1h\r\n'))
        self.assertEqual((a.status, a.headers['location']), (202, f'/executions/{a.problem()["id"]}'))
        self.assertNotIn('preference-applied', a.headers)
        sent = self.sent(a)
        self.assertEqual((sent['target'], sent['content_type']), ('demo/event', 'application/json'))
        self.assertEqual(sent['headers'], {'sand-source': 'http:POST /later/{id}', 'sand-idempotency-key': 'k'})
        event = json.loads(sent['payload'])
        self.assertEqual((event['body'], event['pathParameters'], event['headers']['sand-delay']), ('hello', {'id': '7'}, '1h'))
        sent = self.sent(self.ask(web(b'POST', b'/laterprogram', b'hello')))
        self.assertEqual((sent['target'], sent['payload'], sent['content_type']), ('demo/vars', 'hello', ''))
        self.assertIn('REQUEST_METHOD=POST\n', sent['headers']['cgi'])
        self.assertEqual(self.ask(web(b'GET', b'/later/7')).status, 405)
        self.assertEqual(self.ask(web(b'GET', b'/event/7', extra=ASYNC + b'Sand-Delay: 1h\r\n')).status, 200)

    def test_executions(self):
        i = self.ask(request(b'event', b'1', ASYNC)).problem()['id']
        a = self.ask(execution(i))
        self.assertEqual((a.status, a.headers['cache-control'], a.headers['content-type'], a.headers['sand-execution']),
                         (200, 'no-store', 'application/json', i))
        e = a.problem()
        del e['result']
        self.assertEqual(e, {'id': i, 'status': 'running', 'function': 'demo/event', 'attempts': 1,
                             'accepted': '2025-11-24T16:00:00.000001Z'})
        e = self.ask(execution(i, '?x=y&wait=5s')).problem()
        self.assertEqual((e['status'], e['finished']), ('done', '2025-11-24T16:00:01.500000Z'))
        i = self.ask(request(b'never', b'1', ASYNC)).problem()['id']
        self.assertEqual(self.ask(execution(i, '?wait=1s')).problem()['status'], 'running')
        for path, status in ((execution('0' * 32), 404), (execution('0' * 31), 404), (execution('A' * 32), 404),
                             (execution(i + '/'), 404), (execution(i, '?wait=long'), 400),
                             (execution(i).replace(b'GET', b'DELETE'), 405)):
            with self.subTest(path):
                self.assertEqual(self.ask(path).status, status)
        self.assertEqual(self.ask(execution(i).replace(b'GET', b'HEAD'), head=True).status, 200)
        self.assertEqual(self.ask(execution(i).replace(b'GET', b'OPTIONS')).headers['allow'], 'GET, HEAD')

    def test_waiting_ends(self):
        i = self.ask(request(b'never', b'1', ASYNC)).problem()['id']
        begin = time.monotonic()
        self.assertEqual(self.ask(execution(i, '?wait=700ms')).problem()['status'], 'running')
        self.assertTrue(0.6 < time.monotonic() - begin < 5)
        waiting = self.client().send(execution(i, '?wait=1h'))
        with self.client() as c:
            c.send(execution(i, '?wait=1h'))
            time.sleep(0.3)
        self.gateway.send_signal(signal.SIGTERM)
        self.assertEqual(waiting.answer(5).problem()['status'], 'running')
        self.assertEqual(self.gateway.wait(5), 0)

    def test_accepts_beside_slow_calls(self):
        self.configure('InvocationsPerAppMax=1')
        self.reload()
        slow = self.client().send(request(b'delay', b'1500'))
        self.eventually(lambda: self.metric('sand_invocations_in_flight') == 1)
        self.assertEqual(self.ask(request(b'echo', b'')).status, 429)
        self.assertEqual(self.ask(request(b'echo', b'', ASYNC)).status, 202)
        self.client().send(request(b'delay', b'', ASYNC))
        time.sleep(0.2)
        self.refused(request(b'echo', b'', ASYNC), 429, 'wait to be accepted')
        self.assertEqual(slow.answer().status, 200)

    def test_cloud_events(self):
        a = self.ask(emit())
        self.assertEqual((a.status, a.problem()['events']), (202, 2))
        self.assertNotIn('location', a.headers)
        sent = self.sent(a)
        self.assertEqual((sent['member'], sent['target'], sent['content_type']),
                         ('Emit', 'demo//orders.placed', 'application/cloudevents+json'))
        self.assertEqual(sent['payload'], '{"specversion":"1.0","id":"1","source":"/shop","type":"orders.placed",'
                         '"datacontenttype":"application/json","data":{"n":1}}')
        key = 'ce:' + hashlib.sha256(b'/shop\x001').hexdigest()
        self.assertEqual(sent['headers'], {'sand-idempotency-key': key})
        structured = (b'{ "specversion":"1.0", "id":"1", "source":"/shop","type":"orders.placed", "x":1e400}')
        again = self.ask(emit(structured, b'Content-Type: Application/CloudEvents+JSON; charset=utf-8\r\n'))
        self.assertEqual((again.status, again.headers['sand-duplicate'], again.problem()['id']), (202, 'true', a.problem()['id']))
        sent = self.sent(self.ask(emit(structured.replace(b'"1"', b'"2"'), b'Content-Type: application/cloudevents+json\r\n'
                                       b'Sand-Max-Age: 1h\r\n')))
        self.assertEqual(sent['payload'], structured.replace(b'"1"', b'"2"').decode())
        self.assertEqual(sent['headers']['sand-max-age-usec'], '3600000000')
        nobody = self.ask(emit(extra=CE.replace(b'orders.placed', b'nobody')))
        self.assertEqual((nobody.status, nobody.body), (202, b'{"events":0}\n'))
        self.assertEqual(self.metric('sand_events_total{app="demo",function="",outcome="ok"}'), 4)

    def test_cloud_events_that_are_none(self):
        for body, extra, status, detail in (
                (b'[]', b'Content-Type: application/cloudevents-batch+json\r\n', 415, 'batches'),
                (b'', b'Content-Type: application/cloudevents+avro\r\n', 415, 'batches'),
                (b'{}', b'Content-Type: application/json\r\n', 400, 'ce-specversion'),
                (b'{}', b'', 400, 'ce-specversion'),
                (b'{}', CE.replace(b'ce-id: 1\r\n', b''), 400, 'ce-id'),
                (b'{}', CE.replace(b'orders.placed', b'orders/placed'), 400, 'letters, digits'),
                (b'{}', CE.replace(b'orders.placed', b'x' * 129), 400, 'letters, digits'),
                (b'{}', CE + b'Idempotency-Key: k\r\n', 400, 'source and id'),
                (b'{}', CE + b'Sand-Delay: x\r\n', 400, 'Sand-Delay'),
                (b'{', CE, 400, 'not JSON'),
                (b'x' * (1 << 20), CE.replace(b'/json', b'/x'), 413, 'an event of'),
                (b'x' * ((1 << 20) + 1), CE, 413, 'larger than')):
            with self.subTest((body[:10], extra)):
                self.refused(emit(body, extra), status, detail)
        self.refused(emit(app=b'absent'), 404, 'absent')
        self.assertEqual(self.ask(b'GET /events/demo HTTP/1.1\r\nHost: x\r\n\r\n').headers['allow'], 'POST')
        self.assertEqual(self.ask(emit(app=b'demo/x')).status, 404)
        self.assertEqual(self.ask(emit(extra=CE + b'Origin: http://evil.example\r\n')).status, 403)
        self.assertEqual(self.metric('sand_events_total{app="demo",function="",outcome="TooLarge"}'), 2)

    def test_cloud_events_for_a_function(self):
        a = self.ask(request(b'echo', b'\x00', CE.replace(b'application/json', b'image/png') + b'CE-Subject: 7\r\n'))
        self.assertEqual((a.status, a.headers['content-type']), (200, 'application/cloudevents+json'))
        self.assertEqual(a.problem(), {'specversion': '1.0', 'id': '1', 'source': '/shop', 'type': 'orders.placed',
                                       'subject': '7', 'datacontenttype': 'image/png', 'data_base64': 'AA=='})
        body = b'{ "specversion" : "1.0" }'
        a = self.ask(request(b'echo', body, b'Content-Type: application/cloudevents+json\r\n'))
        self.assertEqual((a.body, a.headers['content-type']), (body, 'application/cloudevents+json'))
        self.assertEqual(self.ask(request(b'echo', b'{}', CE.replace(b'1.0', b'0.3'))).status, 400)
        sent = self.sent(self.ask(request(b'echo', b'[1]', ASYNC + CE + b'Idempotency-Key: k\r\n')))
        self.assertEqual((sent['content_type'], json.loads(sent['payload'])['data'], sent['headers']),
                         ('application/cloudevents+json', [1], {'sand-idempotency-key': 'k'}))


class EventLog(Rig):
    """The same with sand-globald, which has the machine called."""

    def setUp(self):
        super().setUp()
        os.mkdir(f'{self.dir}/state')
        self.globald_start()

    def globald_start(self):
        self.globald = subprocess.Popen([GLOBALD, f'--catalogue={self.dir}/catalogue', f'--app-sockets={self.dir}/app',
                                         f'--state={self.dir}/state', '--config=/dev/null', f'--listen-host={self.dir}/events'])
        self.addCleanup(self.globald_end, self.globald)
        self.eventually(lambda: os.path.exists(f'{self.dir}/events'))

    def globald_end(self, process):
        process.terminate()
        self.assertIn(process.wait(20), (0, -signal.SIGKILL))

    def publish(self, name, routes=ROUTES):
        super().publish(name, routes)
        path = f'{self.dir}/catalogue/{name}.json'
        with open(path) as f:
            entry = json.load(f)
        for f in entry['functions'].values():
            f.update(instances_max=4, retry={'attempts': 2, 'delay_usec': 100000, 'backoff': 2.0, 'delay_max_usec': 1000000,
                                             'age_max_usec': 60000000, 'timeouts': True})
        entry['topics'] = [{'event': 'orders.*', 'target': 'event'}, {'event': 'orders.placed', 'target': 'echo'}]
        with open(f'{path}.new', 'w') as f:
            json.dump(entry, f)
        os.rename(f'{path}.new', path)

    def accepted(self, data):
        a = self.ask(data)
        self.assertEqual(a.status, 202, a.body)
        return a.problem()['id']

    def ended(self, i, wait='10s'):
        a = self.ask(execution(i, f'?wait={wait}'))
        self.assertEqual(a.status, 200, a.body)
        return a.problem()

    def test_results(self):
        e = self.ended(self.accepted(request(b'echo', b'{"a":1}', ASYNC + b'Content-Type: application/json\r\n')))
        self.assertEqual((e['status'], e['result'], e['function'], e['attempts']), ('done', {'a': 1}, 'demo/echo', 1))
        body = random.randbytes(1 << 20)
        e = self.ended(self.accepted(request(b'echo', body, ASYNC + b'Content-Type: image/png\r\n')))
        self.assertEqual((base64.b64decode(e['result_base64']), e['content_type']), (body, 'image/png'))
        e = self.ended(self.accepted(web(b'POST', b'/later/7', b'hello', b'Content-Type: text/plain\r\n')))
        self.assertEqual(e['result']['body'], 'hello')
        e = self.ended(self.accepted(web(b'POST', b'/laterprogram', b'hello')))
        self.assertIn(b'REQUEST_METHOD=POST', base64.b64decode(e['result_base64']))

    def test_failures(self):
        e = self.ended(self.accepted(request(b'fail', b'1', ASYNC)))
        self.assertEqual((e['status'], e['attempts'], e['error'], e['error_class'], e['message']),
                         ('dead', 2, 'FunctionFailed', 'Oops', 'it "failed"'))
        self.assertEqual(self.ask(execution('0' * 32)).status, 404)

    def test_waits(self):
        i = self.accepted(request(b'delay', b'1500', ASYNC))
        self.assertEqual(self.ended(i, '300ms')['status'], 'running')
        self.assertEqual(self.ended(i)['status'], 'done')
        i = self.accepted(request(b'echo', b'1', ASYNC + b'Sand-Delay: 1s\r\n'))
        self.assertEqual(self.ask(execution(i)).problem()['status'], 'accepted')
        self.assertEqual(self.ended(i)['status'], 'done')

    def test_once(self):
        key = ASYNC + b'Idempotency-Key: k\r\n'
        i = self.accepted(request(b'count', b'', key))
        again = self.ask(request(b'count', b'', key))
        self.assertEqual((again.problem()['id'], again.headers['sand-duplicate']), (i, 'true'))
        self.ended(i)
        self.assertEqual(self.ask(request(b'count')).body, b'2')

    def test_cloud_events(self):
        """Each function that waits for it gets it, once, however often it is delivered here."""
        a, again = self.ask(emit()), self.ask(emit())
        self.assertEqual((a.status, a.problem()['events'], again.status), (202, 2, 202))
        e = self.ended(a.problem()['id'])
        self.assertEqual(e['result']['data'], {'n': 1})
        self.assertEqual(self.ask(emit(extra=CE.replace(b'orders.placed', b'nobody'))).body, b'{"events":0}\n')
        time.sleep(1)
        self.assertEqual(self.ask(request(b'count')).body, b'3')

    def test_survives(self):
        i = self.accepted(request(b'echo', b'7', ASYNC + b'Sand-Delay: 2s\r\nContent-Type: application/json\r\n'))
        self.globald.kill()
        self.globald.wait()
        os.unlink(f'{self.dir}/events')
        self.assertEqual(self.ask(request(b'echo', b'', ASYNC)).status, 503)
        self.globald_start()
        self.eventually(lambda: self.ask(execution(i)).status == 200)
        self.assertEqual(self.ended(i)['result'], 7)


def bearer(token):
    return b'Authorization: Bearer %s\r\n' % token


def put_tokens(place, app, *tokens, expires=0):
    """As sand-hostd publishes them."""
    path = f'{place}/tokens/{app}.json'
    with open(f'{path}.new', 'w') as f:
        json.dump({'tokens': [{'hash': hashlib.sha256(t).hexdigest(), 'created_usec': 1, 'expires_usec': expires}
                              for t in tokens]}, f)
    os.rename(f'{path}.new', path)


class Remote(Rig):
    """Who comes from another host, as far as addresses tell: 0.0.0.0 is no loopback."""

    settings = 'TLSCertificate={self.dir}/cert.pem\nTLSKey={self.dir}/key.pem'
    arguments = ('--listen=0.0.0.0:{self.port}',)
    token, other = b'sand_' + b'0123456789' * 4 + b'abc', b'sand_' + b'Z' * 43

    @functools.cached_property
    def port(self):
        with socket.create_server(self.address), socket.create_server(('0.0.0.0', 0)) as s:
            return s.getsockname()[1]

    def setUp(self):
        super().setUp()
        self.listens(('127.0.0.1', self.port))
        put_tokens(self.dir, 'demo', self.token)
        put_tokens(self.dir, 'other', self.other)
        self.publish('other')

    def configure(self, settings):
        super().configure(settings)
        self.certify('one')

    def certify(self, name, days=60, key='key.pem'):
        subprocess.run(['openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                        f'{self.dir}/{key}', '-out', f'{self.dir}/csr', '-subj', f'/CN={name}'], check=True, capture_output=True)
        subprocess.run(['openssl', 'x509', '-req', '-in', f'{self.dir}/csr', '-signkey', f'{self.dir}/{key}', '-days', str(days),
                        '-out', f'{self.dir}/cert.pem'], check=True, capture_output=True)

    def outside(self, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for k, v in settings.items():
            setattr(context, k, v)
        if 'maximum_version' in settings:
            context.set_ciphers('ALL:@SECLEVEL=0')
        c = Client(('127.0.0.1', self.port))
        try:
            c.socket = context.wrap_socket(c.socket)
        except OSError:
            c.close()
            raise
        return c

    def shown(self):
        """The certificate that a new connection gets."""
        with self.outside() as c:
            der = c.socket.getpeercert(True)
        text = subprocess.run(['openssl', 'x509', '-inform', 'DER', '-noout', '-subject'], input=der, check=True,
                              capture_output=True).stdout
        return text.decode().split('=')[-1].strip()

    def demand(self, data):
        with self.outside() as c:
            return c.send(data).answer()


class Outside(Remote):
    def test_events_and_executions(self):
        self.events_start()
        self.assertEqual(self.demand(request(b'echo', b'', ASYNC)).status, 401)
        self.assertEqual(self.demand(emit()).status, 401)
        self.assertEqual(self.demand(emit(extra=CE + bearer(self.other))).status, 403)
        self.assertEqual(self.demand(emit(extra=CE + bearer(self.token))).status, 202)
        i = self.demand(request(b'echo', b'x', ASYNC + bearer(self.token))).problem()['id']
        self.assertEqual(self.demand(execution(i)).status, 401)
        a = self.demand(execution(i, extra=bearer(self.token)))
        self.assertEqual((a.status, a.problem()['result']['payload']), (200, 'x'))

        def told(i):
            a = self.demand(execution(i, extra=bearer(self.other)))
            p = a.problem()
            self.assertEqual(p.pop('execution'), a.headers['sand-execution'])
            return a.status, p, sorted(a.headers)
        self.assertEqual(told(i)[0], 404)
        self.assertEqual(told(i), told('0' * 32))

    def test_only_with_a_token_of_the_application(self):
        a = self.demand(request(b'echo', b'x', bearer(self.token)))
        self.assertEqual((a.status, a.body), (200, b'x'))
        self.assertNotIn('www-authenticate', a.headers)
        self.assertEqual(self.demand(request(b'echo', b'x', b'authorization: bEARER  %s\r\n' % self.token)).status, 200)
        body = random.randbytes(1 << 20)
        self.assertEqual(self.demand(request(b'echo', body, bearer(self.token))).body, body)

        def told(app, extra):
            """What does not tell one application from another, nor one that is there from one that is not."""
            l = []
            for data in (request(b'echo', b'x', extra, app), request(b'nope', b'x', extra, app),
                         b'GET /web/%s/ HTTP/1.1\r\nHost: x\r\n%s\r\n' % (app, extra)):
                a = self.demand(data)
                l.append((a.status, a.headers.get('www-authenticate'), a.problem()['detail'].replace(app.decode(), 'APP')))
            return l

        for extra, status, challenge in (
                (b'', 401, 'Bearer realm="sand"'),
                (bearer(b'sand_' + b'y' * 43), 401, 'Bearer realm="sand", error="invalid_token"'),
                (bearer(b'nonsense'), 401, 'Bearer realm="sand", error="invalid_token"'),
                (bearer(self.token + b'x'), 401, 'Bearer realm="sand", error="invalid_token"'),
                (bearer(self.token) * 2, 401, 'Bearer realm="sand"'),
                (b'Authorization: Basic %s\r\n' % base64.b64encode(b'a:' + self.token), 401, 'Bearer realm="sand"'),
                (b'Authorization: Bearer\r\n', 401, 'Bearer realm="sand"'),
                (b'Authorization: Bearer \r\n', 401, 'Bearer realm="sand"')):
            with self.subTest(extra):
                for app in (b'demo', b'other', b'absent'):
                    l = told(app, extra)
                    self.assertEqual((l[0][:2], l), ((status, challenge), told(b'demo', extra)))
        self.assertEqual(told(b'other', bearer(self.token)), told(b'absent', bearer(self.token)))
        self.assertEqual(told(b'other', bearer(self.token))[0][:2], (403, None))
        self.assertEqual(told(b'demo', bearer(self.other))[0][:2], (403, None))

    def test_tokens_come_and_go(self):
        with self.outside() as c:
            def status(token=self.token):
                return c.send(request(b'echo', b'x', bearer(token))).answer().status
            self.assertEqual(status(), 200)
            put_tokens(self.dir, 'demo')
            self.assertEqual(status(), 401)
            put_tokens(self.dir, 'demo', *(b'sand_' + b'%043d' % i for i in range(200)))
            for i in (0, 99, 199):
                self.assertEqual(status(b'sand_' + b'%043d' % i), 200)
            self.assertEqual(status(b'sand_' + b'%043d' % 200), 401)
            self.assertEqual(status(self.other), 403)
            for expires, expected in ((time.time() + 60, 200), (time.time() - 2, 401), (0, 200)):
                put_tokens(self.dir, 'demo', self.token, expires=int(expires * 1e6))
                self.assertEqual(status(), expected)
            put_tokens(self.dir, 'demo', self.token, expires=int((time.time() + 1.5) * 1e6))
            self.assertEqual(status(), 200)
            self.eventually(lambda: status() == 401)
            put_tokens(self.dir, 'demo', self.token)
            self.assertEqual(status(), 200)
            with open(f'{self.dir}/tokens/new', 'w') as f:
                f.write('{"tokens":[{')
            os.rename(f'{self.dir}/tokens/new', f'{self.dir}/tokens/demo.json')
            self.assertEqual(status(), 401)
            self.assertEqual(status(self.other), 403)
            put_tokens(self.dir, 'demo', self.token)
            self.assertEqual(status(), 200)
            os.unlink(f'{self.dir}/tokens/demo.json')
            self.assertEqual(status(), 401)

    def test_other_paths(self):
        self.assertEqual(self.demand(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n').status, 200)
        a = self.demand(b'GET /metrics HTTP/1.1\r\nHost: x\r\n%s\r\n' % bearer(self.token))
        self.assertEqual((a.status, 'demo' in a.body.decode()), (404, False))
        before = self.metric('sand_http_connections_total')
        self.demand(b'GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n')
        self.assertEqual(self.metric('sand_http_connections_total'), before + 2)
        self.assertEqual(self.metric('sand_http_responses_total{code="404"}'), 2)
        expires = self.metric('sand_tls_certificate_expiry_seconds')
        self.assertTrue(59 * 86400 < expires - time.time() < 61 * 86400)

    def test_web(self):
        e = json.loads(self.demand(web(b'GET', b'/', extra=bearer(self.token) + b'X-Forwarded-For: 192.0.2.1\r\n'
                                       b'X-Forwarded-Proto: http\r\nX-Forwarded-Port: 1\r\n')).body)
        self.assertEqual(e['headers'], {'host': 'x', 'x-forwarded-for': '192.0.2.1,127.0.0.1', 'x-forwarded-proto': 'https',
                                        'x-forwarded-port': '443'})
        self.assertEqual(e['requestContext']['http']['sourceIp'], '127.0.0.1')
        a = self.demand(b'GET /web/demo/vars/x HTTP/1.1\r\nHost: x:8443\r\nX-A: b\r\n%s\r\n' % bearer(self.token))
        self.assertIn(b'HTTPS=on\n', a.body)
        self.assertIn(b'SERVER_PORT=8443\n', a.body)
        self.assertNotIn(b'AUTHORIZATION', a.body)
        # Without a token there is the answer to a browser's question, and no more.
        ask = b'Origin: https://a.example\r\nAccess-Control-Request-Method: %s\r\n'
        a = self.demand(web(b'OPTIONS', b'/event/1', extra=ask % b'GET'))
        self.assertEqual((a.status, a.headers['access-control-allow-origin']), (204, 'https://a.example'))
        for method, path, extra in ((b'OPTIONS', b'/event/1', ask % b'POST'), (b'OPTIONS', b'/plain', ask % b'OPTIONS'),
                                    (b'OPTIONS', b'/plain', b''), (b'OPTIONS', b'/nowhere', ask % b'GET'),
                                    (b'GET', b'/event/1', ask % b'GET'), (b'OPTIONS', b'/event/1', b'')):
            self.assertEqual(self.demand(web(method, path, extra=extra)).status, 401)

    def test_handshakes_that_wait(self):
        def used():
            with open(f'/proc/{self.gateway.pid}/stat') as f:
                return sum(int(n) for n in f.read().rsplit(')', 1)[1].split()[11:13]) / os.sysconf('SC_CLK_TCK')

        with Client(('127.0.0.1', self.port)) as c:
            c.send(b'\x16\x03\x01')
            before = used()
            time.sleep(2)
            self.assertLess(used() - before, 0.5)

    def test_nothing_but_tls(self):
        with Client(('127.0.0.1', self.port)) as c:
            c.send(b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
            try:
                while len(c.buffer) < 100:
                    c.fill(10)
            except (EOFError, ConnectionResetError):
                pass
            self.assertNotIn(b'HTTP', c.buffer)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.outside(minimum_version=version, maximum_version=version) as c:
                self.assertEqual(c.socket.version(), version.name.replace('_', '.'))
                self.assertEqual(c.send(request(b'echo', b'x', bearer(self.token))).answer().status, 200)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)
            with self.assertRaises(OSError):
                self.outside(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        # Connections that say nothing end in time, TLS or not.
        silent = Client(('127.0.0.1', self.port))
        self.assertTrue(silent.ended(15))
        silent.close()

    def test_a_new_certificate(self):
        self.assertEqual(self.shown(), 'one')
        stop, failures, served = threading.Event(), [], []

        def load():
            while not stop.is_set():
                try:
                    served.append(self.demand(request(b'echo', b'x', bearer(self.token))).status)
                except OSError as e:
                    failures.append(e)

        threads = [threading.Thread(target=load) for _ in range(4)]
        with self.outside() as old:
            for t in threads:
                t.start()
            for i in range(8):
                self.certify(f'n{i}')
                self.reload()
                self.assertEqual(self.shown(), f'n{i}')
                self.assertEqual(old.send(request(b'echo', b'x', bearer(self.token))).answer().status, 200)
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual((failures, set(served)), ([], {200}))
        self.assertGreater(len(served), 50)

    def test_a_certificate_that_is_not_good(self):
        def stays():
            self.reload()
            self.assertEqual(self.shown(), 'one')

        self.certify('other-key')
        self.certify('another', key='elsewhere.pem')
        stays()
        self.certify('expired', days=-1)
        stays()
        for name, content in (('cert.pem', ''), ('cert.pem', 'nonsense'), ('key.pem', '')):
            self.certify('broken')
            with open(f'{self.dir}/{name}', 'w') as f:
                f.write(content)
            stays()
        os.unlink(f'{self.dir}/cert.pem')
        stays()
        self.certify('two')
        self.reload()
        self.assertEqual(self.shown(), 'two')


class NoCertificate(Remote):
    """A socket for other hosts is passed, and there is nothing to serve it with."""

    arguments = ()

    def setUp(self):
        self.socket = socket.create_server(('0.0.0.0', 0), backlog=16)
        self.addCleanup(self.socket.close)
        self.port = self.socket.getsockname()[1]
        super().setUp()

    def start(self, command):
        fd = self.socket.fileno()
        shell = f'exec 3<&{fd} && LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 2>{self.dir}/log'
        return subprocess.Popen(['sh', '-c', shell, 'sh', *command], pass_fds=[fd])

    def configure(self, settings):
        Rig.configure(self, settings)

    def test_the_others_are_served(self):
        with open(f'{self.dir}/log') as f:
            log = f.read()
        self.assertRegex(log, 'Nobody is served from outside: .*/cert.pem cannot be read: No such file')
        self.assertRegex(log, '0.0.0.0:[0-9]+ is not served: there is no certificate for it')
        self.assertEqual(self.ask(request(b'echo', b'x')).body, b'x')
        for _ in range(3):
            with Client(('127.0.0.1', self.port)) as c:
                self.assertTrue(c.ended())
        self.certify('late')
        self.reload()
        self.assertEqual(self.shown(), 'late')
        self.assertEqual(self.demand(request(b'echo', b'x', bearer(self.token))).status, 200)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=1)

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later

"""sandctl's verbs for asynchronous events, and sand-trigger, against a stand-in for sand-globald that answers what each test
lays ready and tells what it was asked.

usage: test-events-cli.py BUILD-DIRECTORY FAKE-GLOBALD"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BUILD, FAKE = sys.argv[1:3]
ID = '0123456789abcdef0123456789abcdef'
OTHER = 'fedc' * 8


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix='sand-events-'))
        self.ready = os.path.join(self.dir, 'ready')
        os.mkdir(self.ready)
        self.socket = os.path.join(self.dir, 'socket')
        self.env = {'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8', 'SAND_EVENTS_SOCKET': self.socket}
        self.fake = subprocess.Popen([FAKE, self.socket, self.ready], stdout=subprocess.PIPE)
        self.assertEqual(self.fake.stdout.readline(), b'ready\n')

    def tearDown(self):
        self.fake.kill()
        self.fake.wait()
        self.fake.stdout.close()
        shutil.rmtree(self.dir)

    def lay(self, member, answer):
        with open(os.path.join(self.ready, member), 'w', encoding='utf-8') as f:
            f.write(answer if isinstance(answer, str) else json.dumps(answer))

    def asked(self):
        path = os.path.join(self.ready, 'log')
        if not os.path.exists(path):
            return []
        with open(path, encoding='utf-8') as f:
            lines = [json.loads(line) for line in f]
        os.unlink(path)
        return lines

    def run_program(self, program, *words, status=0, stdin='', env=None):
        r = subprocess.run([os.path.join(BUILD, program), *words], env={**self.env, **(env or {})}, input=stdin.encode(),
                           capture_output=True, timeout=60, check=False)
        self.assertEqual(r.returncode, status, r)
        r.out, r.err = r.stdout.decode(errors='surrogateescape'), r.stderr.decode()
        return r

    def sandctl(self, *words, **options):
        return self.run_program('sandctl', *words, **options)


class Async(Case):
    def test_id_alone(self):
        r = self.sandctl('invoke', '--async', 'shop/order', '--delay=1min', '--max-age', '2h', '--idempotency-key=k 1',
                         '--callback=http://a/b', '-d', '{"n": 1}')
        self.assertEqual(r.out, ID + '\n')
        self.assertEqual(r.err, '')
        call, = self.asked()
        self.assertEqual((call['member'], call['target'], call['payload'], call['content_type']),
                         ('Send', 'shop/order', '{"n": 1}', 'application/json'))
        self.assertEqual(call['headers'], {'caller': 'sandctl', 'sand-source': 'sandctl', 'sand-delay-usec': '60000000',
                                           'sand-max-age-usec': '7200000000', 'sand-idempotency-key': 'k 1',
                                           'sand-callback': 'http://a/b'})

    def test_standard_input_and_type(self):
        self.sandctl('invoke', '--async', 'shop/order', '-t', 'text/plain', '-', stdin='x' * 100000)
        call, = self.asked()
        self.assertEqual((call['payload'], call['content_type']), ('x' * 100000, 'text/plain'))

    def test_duplicate_is_said(self):
        self.lay('Send', {'id': ID, 'duplicate': True})
        r = self.sandctl('invoke', '--async', 'shop/order', '--idempotency-key=k')
        self.assertEqual(r.out, ID + '\n')
        self.assertIn('accepted before', r.err)
        self.assertEqual(self.sandctl('invoke', '--async', '-q', 'shop/order').err, '')
        self.assertEqual(json.loads(self.sandctl('invoke', '--async', '-j', 'shop/order').out)['duplicate'], True)

    def test_errors(self):
        for name, status in (('NotFound', 3), ('Denied', 4), ('Unavailable', 5), ('Busy', 6), ('TooLarge', 2)):
            self.lay('Send', f'!{name} {name} the disk is full')
            r = self.sandctl('invoke', '--async', 'shop/order', status=status)
            self.assertEqual((r.out, r.err), ('', 'Not accepted for shop/order: the disk is full\n'))
        r = self.sandctl('invoke', '--async', 'shop/order', status=5, env={'SAND_EVENTS_SOCKET': self.dir + '/none'})
        self.assertIn('nothing listens', r.err)

    def test_refused_combinations(self):
        for words in (('--async', '--wait', 'a/b'), ('--delay=1s', 'a/b'), ('--callback=http://x', 'a/b'), ('--max-age=1s', 'a/b'),
                      ('--idempotency-key=k', 'a/b'), ('--async', '--timeout=1s', 'a/b'), ('--async', './a/b'),
                      ('--async', '--delay=soon', 'a/b'), ('--async', '--idempotency-key=', 'a/b'), ('--wait', ID, '-'),
                      ('--wait', '-d', '{}', ID), ('--wait', 'xyz'), ('--async', '--idempotency-key=' + 'k' * 257, 'a/b')):
            r = self.sandctl('invoke', *words, status=2)
            self.assertEqual(r.out, '')
            self.assertTrue(r.err, words)
        self.assertEqual(self.asked(), [])


class Wait(Case):
    def test_result(self):
        self.lay('Execution', {'id': ID, 'status': 'done', 'result': {'a': ['/x', 1.5]}})
        r = self.sandctl('invoke', '--wait', ID)
        self.assertEqual(r.out, '{"a":["/x",1.5]}')
        call, = self.asked()
        self.assertEqual((call['member'], call['target'], call['headers'], call['deadline']), ('Execution', ID, {'wait': '1'}, False))
        self.sandctl('invoke', '--wait', ID, '--timeout=5s')
        self.assertTrue(self.asked()[0]['deadline'])

    def test_bytes(self):
        for text, raw in (('/9j/AA==', b'\xff\xd8\xff\0'), ('', b''), ('YWI=', b'ab'), ('YWJj', b'abc')):
            self.lay('Execution', {'id': ID, 'status': 'done', 'result_base64': text})
            self.assertEqual(self.sandctl('invoke', '--wait', ID).stdout, raw)

    def test_failure_as_if_waited_for(self):
        for name, status in (('FunctionFailed', 1), ('Timeout', 7), ('OutOfMemory', 1), ('NotFound', 3)):
            self.lay('Execution', {'id': ID, 'status': 'dead', 'error': name, 'error_class': 'Oops', 'message': 'no',
                                   'cause': 'here'})
            r = self.sandctl('invoke', '--wait', ID, status=status)
            self.assertEqual((r.out, r.err), ('', f'{name}: Oops: no\nhere\n'))
        cause = 'Traceback:\n  File "/app/f.py", line 3, in f\n'
        self.lay('Execution', {'id': ID, 'status': 'dead', 'error': 'FunctionFailed', 'error_class': 'KeyError', 'message': "'x'",
                               'cause': cause})
        self.assertTrue(self.sandctl('invoke', '--wait', ID, status=1).err.startswith("f.py:3: KeyError: 'x'\n"))

    def test_globald_comes_back(self):
        self.lay('Execution', '!Unavailable Unavailable about to be restarted')
        waiting = subprocess.Popen([os.path.join(BUILD, 'sandctl'), 'invoke', '--wait', ID], env=self.env, stdout=subprocess.PIPE)
        time.sleep(0.3)
        self.fake.kill()
        self.fake.wait()
        self.fake.stdout.close()
        self.lay('Execution', {'id': ID, 'status': 'done', 'result': 1})
        time.sleep(0.5)
        self.fake = subprocess.Popen([FAKE, self.socket, self.ready], stdout=subprocess.PIPE)
        self.assertEqual(waiting.communicate(timeout=30)[0], b'1')
        self.assertEqual(waiting.returncode, 0)

    def test_not_yet(self):
        self.lay('Execution', '!Timeout Timeout not ended yet')
        self.assertIn('not ended yet', self.sandctl('invoke', '--wait', ID, '--timeout=1s', status=7).err)


class Emit(Case):
    def test_emit(self):
        r = self.sandctl('emit', 'shop', 'orders.created', '-d', '[1]')
        self.assertEqual((r.out, r.err), (ID + '\n', ''))
        call, = self.asked()
        self.assertEqual((call['member'], call['target'], call['payload']), ('Emit', 'shop//orders.created', '[1]'))

    def test_nobody(self):
        self.lay('Emit', {'id': '', 'events': 0})
        r = self.sandctl('emit', 'shop', 'a.b')
        self.assertEqual(r.out, '')
        self.assertIn('No function', r.err)

    def test_refused(self):
        for words in (('Shop', 'a'), ('shop', 'a b'), ('shop', ''), ('shop', 'x' * 129), ('shop', 'a', 'payload')):
            self.sandctl('emit', *words, status=2)
        self.assertEqual(self.asked(), [])


EVENT = {'id': ID, 'execution': OTHER, 'app': 'shop', 'function': 'order', 'status': 'dead', 'attempts': 3,
         'accepted_usec': 1700000000000000, 'finished_usec': 1700000001000000, 'source': 'sandctl', 'error': 'FunctionFailed',
         'error_class': 'KeyError', 'message': 'two\nlines', 'cause': 'where it was'}


class Executions(Case):
    def test_list(self):
        self.lay('Executions', [EVENT, {'id': OTHER, 'app': 'shop', 'function': 'f', 'status': 'done', 'attempts': 1,
                                        'accepted_usec': 1700000000000000}])
        r = self.sandctl('execution', 'list', 'shop/order', '--status=dead', '--limit=7')
        call, = self.asked()
        self.assertEqual((call['member'], json.loads(call['payload'])),
                         ('Executions', {'app': 'shop', 'function': 'order', 'status': 'dead', 'limit': 7}))
        lines = r.out.splitlines()
        self.assertEqual(lines[0].split(), ['ID', 'FUNCTION', 'STATUS', 'ATTEMPTS', 'ACCEPTED', 'ERROR'])
        self.assertEqual(lines[1].split()[:4], [ID, 'shop/order', 'dead', '3'])
        self.assertTrue(lines[1].endswith('KeyError: two lines'))
        self.assertEqual(lines[-1], '2 executions listed.')
        self.assertEqual(len(self.sandctl('execution', '--no-legend').out.splitlines()), 2)
        self.assertEqual(json.loads(self.asked()[0]['payload']), {})
        self.assertEqual(json.loads(self.sandctl('execution', 'list', '--json=short').out)[0], EVENT)

    def test_denied(self):
        self.lay('Executions', '!Denied Denied only root may see all executions')
        self.assertIn('only root', self.sandctl('execution', 'list', status=4).err)

    def test_show(self):
        self.lay('Execution', {**EVENT, 'status': 'done', 'result': {'total': 12}, 'content_type': 'application/json'})
        r = self.sandctl('execution', 'show', ID[:6])
        self.assertEqual(self.asked()[0]['target'], ID[:6])
        for text in (f'ID: {ID}', 'Function: shop/order', 'Status: done', '"total": 12', 'where it was'):
            self.assertIn(text, r.out)

    def test_usage(self):
        for words in (('list', 'a/b/c'), ('list', '--status=lost'), ('list', '--limit=0'), ('show', 'abc'), ('show',),
                      ('show', ID, '--status=done'), ('drop', ID)):
            self.sandctl('execution', *words, status=2)
        self.assertEqual(self.asked(), [])


class DeadLetters(Case):
    def test_show(self):
        self.lay('DeadLetter', {**EVENT, 'payload': {'n': 1}, 'payload_content_type': 'application/json', 'headers': {'a': 'b'}})
        r = self.sandctl('dead-letter', 'show', ID)
        for text in ('KeyError: two lines', '"n": 1', 'Header: a: b', 'where it was'):
            self.assertIn(text, r.out)
        self.lay('DeadLetter', {**EVENT, 'payload_base64': '/9j/'})
        self.assertIn('3 bytes', self.sandctl('dead-letter', 'show', ID).out)
        self.lay('DeadLetter', {**EVENT, 'payload_base64': 'aGVsbG8='})
        self.assertIn('\nhello\n', self.sandctl('dead-letter', 'show', ID).out)

    def test_selections(self):
        self.lay('DeadLetter', {**EVENT, 'id': OTHER})
        for verb, member, done in (('replay', 'Replay', 'replayed'), ('drop', 'Drop', 'dropped')):
            self.lay(member, {'events': 3})
            for words, selection in (((ID, 'fedc'), {'ids': [ID, OTHER]}), (('shop',), {'app': 'shop'}),
                                     (('shop/f',), {'app': 'shop', 'function': 'f'}), (('--all',), {'all': True}),
                                     (('cafe',), {'ids': [OTHER]}), (('cafe/',), {'app': 'cafe'})):
                self.assertEqual(self.sandctl('dead-letter', verb, *words).out, f'3 dead letters {done}\n')
                *prefixes, call = self.asked()
                self.assertEqual([c['target'] for c in prefixes], [w for w in words if w in ('fedc', 'cafe')])
                self.assertEqual((call['member'], json.loads(call['payload'])), (member, selection))

    def test_no_such_beginning(self):
        self.assertIn('fedc', self.sandctl('dead-letter', 'drop', ID, 'fedc', status=3).err)
        self.assertEqual([call['member'] for call in self.asked()], ['DeadLetter'])

    def test_never_more_than_was_said(self):
        for words in (('drop',), ('drop', 'shop', '--all'), ('drop', ID, 'shop'), ('list', '--all'), ('show', ID, '--all'),
                      ('drop', ID, '--limit=3')):
            self.sandctl('dead-letter', *words, status=2)
        self.assertEqual(self.asked(), [])


class Trigger(Case):
    def setUp(self):
        super().setUp()
        self.watched = os.path.join(self.dir, 'in')
        os.mkdir(self.watched)
        with open(os.path.join(self.dir, 'shop.json'), 'w', encoding='utf-8') as f:
            json.dump({'name': 'shop', 'triggers': {
                'timer-0': {'target': 'report', 'input': {'all': True}, 'overlap': False}, 'timer-2': {'target': 'report'},
                'path-1': {'target': 'take', 'path': '/mnt/in', 'host': self.watched}}}, f)

    def trigger(self, word, **options):
        return self.run_program('sand-trigger', word, self.dir, **options)

    def put(self, name, text='x'):
        path = os.path.join(self.watched, name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return path

    def sent(self):
        return sorted((json.loads(call['payload'])['path'] for call in self.asked() if call['member'] == 'Send'))

    def test_list_and_fire(self):
        with open(os.path.join(self.dir, 'shop.json'), 'r+', encoding='utf-8') as f:
            entry = {**json.load(f), 'routes': [{'http': 'GET /x', 'target': 'get'}], 'topics': [{'event': 'a.*', 'target': 'on'}]}
            f.seek(0)
            json.dump(entry, f)
        env = {'SAND_CATALOGUE_DIR': self.dir}
        rows = json.loads(self.sandctl('trigger', 'list', 'shop', '--json=short', env=env).out)
        self.assertEqual([(r['trigger'], r['function']) for r in rows],
                         [('http', 'get'), ('timer-0', 'report'), ('timer-2', 'report'), ('path-1', 'take'), ('topic', 'on')])
        self.assertEqual([rows[i]['source'] for i in (0, 3, 4)], ['GET /x', self.watched, 'a.*'])
        self.assertEqual(self.sandctl('trigger', env=env).out.splitlines()[-1], '5 triggers listed.')
        self.sandctl('trigger', 'list', 'none', env=env, status=3)
        self.assertEqual(self.sandctl('trigger', 'fire', 'shop', 'timer-0', env=env).out, ID + '\n')
        call, = self.asked()
        self.assertEqual(call['target'], 'shop/report')
        self.assertEqual(json.loads(call['payload'])['input'], {'all': True})
        self.assertEqual(call['headers'], {'caller': 'sandctl', 'sand-source': 'sand-trigger-shop-0.timer'})
        self.sandctl('trigger', 'fire', 'shop', 'path-1', env=env, status=2)
        self.sandctl('trigger', 'fire', 'shop', 'timer-1', env=env, status=3)

    def test_unit_that_failed(self):
        self.trigger('alarms:mail', env={'MONITOR_UNIT': 'backup.service', 'MONITOR_SERVICE_RESULT': 'exit-code',
                                         'MONITOR_EXIT_CODE': 'exited', 'MONITOR_EXIT_STATUS': '3',
                                         'MONITOR_INVOCATION_ID': OTHER, 'INVOCATION_ID': ID})
        call, = self.asked()
        self.assertEqual((call['member'], call['target']), ('Send', 'alarms/mail'))
        self.assertEqual(json.loads(call['payload']), {'unit': 'backup.service', 'result': 'exit-code', 'exit_code': 'exited',
                                                       'exit_status': '3', 'invocation_id': OTHER})
        self.assertEqual((call['headers']['sand-source'], call['headers']['sand-idempotency-key']), ('backup.service', ID))

    def test_timer(self):
        now = time.time()
        self.trigger('shop:report:timer-0', env={'TRIGGER_TIMER_REALTIME_USEC': str(int(now * 1e6)), 'INVOCATION_ID': OTHER})
        call, = self.asked()
        self.assertEqual(call['target'], 'shop/report')
        payload = json.loads(call['payload'])
        self.assertTrue(payload.pop('scheduled_time').startswith(time.strftime('%Y-%m-%dT%H:%M:%S.', time.gmtime(now))))
        self.assertEqual(payload, {'input': {'all': True}, 'trigger': 'sand-trigger-shop-0.timer'})
        self.assertEqual(call['headers'], {'caller': 'systemd', 'sand-source': 'sand-trigger-shop-0.timer',
                                           'sand-idempotency-key': OTHER, 'sand-overlap': 'skip'})

    def test_timer_whose_time_is_not_of_now(self):
        # systemd 252 repeats that of the service's first start.
        self.trigger('shop:report:timer-2', env={'TRIGGER_TIMER_REALTIME_USEC': '1700000000000000', 'INVOCATION_ID': ID})
        call, = self.asked()
        self.assertNotIn('sand-overlap', call['headers'])
        payload = json.loads(call['payload'])
        self.assertEqual(payload['input'], {})
        self.assertFalse(payload['scheduled_time'].startswith('2023-'))

    def test_overlap_is_no_failure(self):
        self.lay('Send', '!Busy Busy another event of that source has not ended')
        r = self.trigger('shop:report:timer-0')
        self.assertIn('Skipped', r.err)

    def test_what_is_refused(self):
        self.lay('Send', '!NotFound NotFound no such function')
        self.assertIn('no such function', self.trigger('shop:report:timer-2', status=1).err)
        for word in ('shop', 'shop:', 'shop:f:timer-', 'shop:f:timer-9', 'no:f:path-1', '../x:f:timer-0'):
            self.assertTrue(self.trigger(word, status=1).err)

    def test_new_files(self):
        self.put('a'), self.put('b', 'long'), self.put('.partial')
        os.symlink('/etc/passwd', os.path.join(self.watched, 'link'))
        os.mkfifo(os.path.join(self.watched, 'pipe'))
        os.mkdir(os.path.join(self.watched, 'folder'))
        os.utime(os.path.join(self.watched, 'b'), ns=(0, 1700000000_500000_000))
        self.trigger('shop:take:path-1')
        calls = self.asked()
        self.assertEqual([c['member'] for c in calls], ['Compare', 'Send', 'Send'])
        self.assertEqual(calls[0]['target'], 'shop//sand-trigger-shop-1.path')
        keys = json.loads(calls[0]['payload'])
        self.assertEqual(len(keys), 2)
        self.assertEqual(sorted(c['headers']['sand-idempotency-key'] for c in calls[1:]), sorted(keys))
        call = next(c for c in calls[1:] if json.loads(c['payload'])['path'] == '/mnt/in/b')
        self.assertEqual(json.loads(call['payload']), {'path': '/mnt/in/b', 'host_path': self.watched + '/b', 'size': 4,
                                                       'modified': '2023-11-14T22:13:20.500000Z'})
        self.assertEqual(call['target'], 'shop/take')
        self.assertEqual((call['headers']['sand-source'], call['headers']['sand-key-keep']), ('sand-trigger-shop-1.path', '1'))

    def test_once_for_each_state(self):
        self.put('a'), self.put('b'), self.put('c')
        self.trigger('shop:take:path-1')
        self.assertEqual(self.sent(), ['/mnt/in/a', '/mnt/in/b', '/mnt/in/c'])
        self.trigger('shop:take:path-1')
        self.assertEqual(self.sent(), [])
        self.put('b', 'longer')
        os.rename(os.path.join(self.watched, 'c'), os.path.join(self.watched, 'd'))
        os.unlink(os.path.join(self.watched, 'a'))
        self.trigger('shop:take:path-1')
        self.assertEqual(self.sent(), ['/mnt/in/b', '/mnt/in/d'])

    def test_a_file_that_is_written_to_waits(self):
        self.put('a')
        with open(self.put('b'), 'a', encoding='utf-8') as f:
            r = self.trigger('shop:take:path-1')
            calls = self.asked()
            self.assertEqual(len(json.loads(calls[0]['payload'])), 2) # and yet its older state is not forgotten
            self.assertEqual([json.loads(c['payload'])['path'] for c in calls[1:]], ['/mnt/in/a'])
            self.assertIn('1 still being written to', r.err)
            f.write('more')
        self.trigger('shop:take:path-1')
        self.assertEqual(self.sent(), ['/mnt/in/b'])

    def test_opened_and_closed_unchanged(self):
        self.put('a')
        self.trigger('shop:take:path-1')
        with open(os.path.join(self.watched, 'a'), 'a', encoding='utf-8'):
            self.trigger('shop:take:path-1')
        self.asked()
        self.trigger('shop:take:path-1')
        self.assertEqual(self.sent(), [])

    def test_names(self):
        names = ['n' * 255, 'ü' * 127, 'a"b\\c\n', 'with space']
        for name in names:
            self.put(name)
        with open(os.path.join(self.watched.encode(), b'\xff'), 'w', encoding='utf-8'):
            pass
        r = self.trigger('shop:take:path-1')
        calls = self.asked()
        self.assertEqual(sorted(json.loads(c['payload'])['path'] for c in calls[1:]), sorted('/mnt/in/' + n for n in names))
        for c in calls[1:]:
            self.assertLessEqual(len(c['headers']['sand-idempotency-key'].encode()), 256)
        self.assertIn('not UTF-8', r.err)

    def test_no_link_is_followed(self):
        os.rename(self.watched, self.watched + '-away')
        os.symlink('/etc', self.watched)
        self.assertIn('symbolic link', self.trigger('shop:take:path-1', status=1).err)
        self.assertEqual(self.asked(), [])

    def test_refused_files(self):
        self.put('a')
        self.lay('Send', '!Denied Denied not allowed')
        self.assertIn('not allowed', self.trigger('shop:take:path-1', status=1).err)

    def test_many_files(self):
        for i in range(5000):
            self.put(f'file-{i:05}')
        self.trigger('shop:take:path-1')
        self.assertEqual(len(self.sent()), 5000)


class Together(Case):
    """With sand-globald itself, and a machine whose functions do what their names say."""

    def setUp(self):
        super().setUp()
        for name in ('catalogue', 'app', 'state', 'in'):
            os.mkdir(os.path.join(self.dir, name))
        self.catalogue = os.path.join(self.dir, 'catalogue')
        function = {'runtime': 'exec', 'timeout_usec': 30000000, 'payload_max': 1048576, 'queue_max': 1000, 'instances_max': 4,
                    'retry': {'attempts': 1}}
        with open(os.path.join(self.catalogue, 'shop.json'), 'w', encoding='utf-8') as f:
            json.dump({'name': 'shop', 'version': '1-a', 'hash': 'a', 'uid_base': 1000000,
                       'functions': {name: function for name in ('echo', 'fail', 'delay', 'never')},
                       'topics': [{'event': 'orders.*', 'target': 'echo'}],
                       'triggers': {'timer-0': {'target': 'never', 'overlap': False},
                                    'path-1': {'target': 'echo', 'path': '/mnt/in', 'host': os.path.join(self.dir, 'in')}}}, f)
        self.socket = self.env['SAND_EVENTS_SOCKET'] = os.path.join(self.dir, 'globald')
        self.machine = subprocess.Popen([os.path.join(os.path.dirname(FAKE), 'fake-machine'), os.path.join(self.dir, 'app/shop.sock')],
                                        stdout=subprocess.PIPE)
        self.assertEqual(self.machine.stdout.readline(), b'ready\n')
        self.start()

    def start(self):
        self.globald = subprocess.Popen([os.path.join(BUILD, 'sand-globald'), '--catalogue=' + self.catalogue,
                                         '--app-sockets=' + os.path.join(self.dir, 'app'),
                                         '--state=' + os.path.join(self.dir, 'state'), '--listen-host=' + self.socket,
                                         '--listen-machines=' + self.socket + '-machines'], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end and subprocess.run([os.path.join(BUILD, 'sandctl'), 'execution'], env=self.env, check=False,
                                                        capture_output=True).returncode:
            time.sleep(0.05)

    def tearDown(self):
        for process in (self.globald, self.machine):
            process.kill()
            process.wait()
        self.machine.stdout.close()
        super().tearDown()

    def give(self, function, data, *words):
        return self.sandctl('invoke', '--async', 'shop/' + function, '-t', 'text/plain', '-d', data, *words).out.strip()

    def test_there_and_back(self):
        self.assertEqual(self.sandctl('invoke', '--wait', self.give('echo', 'hello\t1')).out, 'hello\t1')
        ID = self.give('fail', 'x')
        r = self.sandctl('invoke', '--wait', ID, status=1)
        self.assertTrue(r.err.startswith('FunctionFailed: Oops: '), r.err)
        self.assertIn('Oops', self.sandctl('execution', 'list', 'shop/fail', '--status=dead').out)
        self.assertIn('\nx\n', self.sandctl('dead-letter', 'show', ID).out)
        self.assertEqual(self.sandctl('dead-letter', 'replay', ID[:20]).out, '1 dead letter replayed\n')
        self.sandctl('invoke', '--wait', ID, status=1)
        self.assertEqual(self.sandctl('dead-letter', 'drop', 'shop/fail').out, '1 dead letter dropped\n')
        self.assertEqual(json.loads(self.sandctl('dead-letter', 'list', '-j').out), [])
        self.sandctl('invoke', '--wait', ID, status=3)

    def test_options(self):
        first = self.give('echo', '1', '--idempotency-key=k')
        self.assertEqual(self.give('echo', '2', '--idempotency-key=k'), first)
        begin = time.monotonic()
        self.sandctl('invoke', '--wait', self.give('echo', '1', '--delay=700ms'))
        self.assertGreater(time.monotonic() - begin, 0.6)
        self.sandctl('invoke', '--wait', self.give('never', '1'), '--timeout=300ms', status=7)

    def test_emit(self):
        ID = self.sandctl('emit', 'shop', 'orders.new', '-d', '{"n": 1}').out.strip()
        event = json.loads(self.sandctl('invoke', '--wait', ID).out)
        self.assertEqual((event['type'], event['data']), ('orders.new', {'n': 1}))
        self.assertEqual(self.sandctl('emit', 'shop', 'other').out, '')

    def test_waiting_over_a_restart(self):
        ID = self.give('delay', '1500')
        waiting = subprocess.Popen([os.path.join(BUILD, 'sandctl'), 'invoke', '--wait', ID], env=self.env, stdout=subprocess.PIPE)
        time.sleep(0.3)
        self.globald.kill()
        self.globald.wait()
        self.start()
        self.assertEqual(waiting.communicate(timeout=60)[0], b'1500')
        self.assertEqual(waiting.returncode, 0)

    def test_files_once(self):
        def look():
            self.run_program('sand-trigger', 'shop:echo:path-1', self.catalogue)
            return len(json.loads(self.sandctl('execution', 'list', '--limit=1000', '-j').out))

        def put(name):
            with open(os.path.join(self.dir, 'in', name), 'w', encoding='utf-8') as f:
                f.write(name)

        for i in range(200):
            put(f'f{i}')
        self.assertEqual(look(), 200)
        self.assertEqual(look(), 200)
        put('one more')
        self.assertEqual(look(), 201)
        self.globald.kill()
        self.globald.wait()
        self.start()
        self.assertEqual(look(), 201)

    def test_timers_do_not_overlap(self):
        timer = {'TRIGGER_TIMER_REALTIME_USEC': '1700000000000000'}
        self.run_program('sand-trigger', 'shop:never:timer-0', self.catalogue, env=timer)
        self.run_program('sand-trigger', 'shop:never:timer-0', self.catalogue, env=timer) # the same one
        timer = {'TRIGGER_TIMER_REALTIME_USEC': '1700000060000000'}
        self.assertIn('Skipped', self.run_program('sand-trigger', 'shop:never:timer-0', self.catalogue, env=timer).err)
        self.assertEqual(len(json.loads(self.sandctl('execution', 'list', '-j').out)), 1)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])

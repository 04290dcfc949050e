#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later

"""What the author of an application goes through, with the programs as they are shipped: new, check, invoke from the
folder, run. Nothing may be left behind, whatever happens.

usage: test-author.py BUILD-DIRECTORY"""

import collections
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = sys.argv[1]
SANDCTL = os.path.join(BUILD, 'sandctl')
NOBODY = 65534
RUNTIMES = ('python3', 'native', 'exec')


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def write(path, text, mode=0o644):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    os.chmod(path, mode)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix='sand-author-', dir='/var/tmp'))
        os.chmod(self.dir, 0o755)
        self.tmp = os.path.join(self.dir, 'tmp')
        os.mkdir(self.tmp, 0o777)
        os.chmod(self.tmp, 0o777)
        self.env = {'PATH': '/usr/bin:/bin', 'TMPDIR': self.tmp, 'LANG': 'C.UTF-8',
                    'LD_LIBRARY_PATH': BUILD, 'PKG_CONFIG_PATH': os.path.join(BUILD, 'meson-uninstalled')}

    def tearDown(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir)

    def sandctl(self, *words, cwd=None, stdin=None, status=0, **options):
        r = subprocess.run([SANDCTL, *words], cwd=cwd or self.dir, env=self.env, text=True, input=stdin or '',
                           capture_output=True, timeout=60, **options)
        self.assertEqual(r.returncode, status, f'{words}: {r.stdout}{r.stderr}')
        return r

    def new(self, name, runtime='python3'):
        self.sandctl('new', name, '--runtime', runtime)
        path = os.path.join(self.dir, name)
        if runtime == 'native':
            # A library that is not installed, and linked as in the build.
            self.sandctl('build', path)
        return path

    def python(self, text, functions=('hello',)):
        """An application with these functions of f.py."""
        path = os.path.join(self.dir, 'app')
        os.makedirs(path, exist_ok=True)
        write(f'{path}/sand.json', json.dumps({'name': 'app', 'functions': {
            name: {'runtime': 'python3', 'handler': f'f.{name}'} for name in functions}}, indent=1))
        write(f'{path}/f.py', text)
        return path

    def processes(self):
        """All whose working directory is ours: sandctl, what it starts, and what that starts."""
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                if os.readlink(f'/proc/{pid}/cwd').startswith(self.dir):
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def assert_nothing_left(self):
        self.assertTrue(within(5, lambda: not self.processes()), [open(f'/proc/{pid}/cmdline').read()
                                                                  for pid in self.processes()])
        self.assertTrue(within(1, lambda: not os.listdir(self.tmp)), os.listdir(self.tmp))

    def tree(self, path):
        return sorted(os.path.relpath(os.path.join(d, f), path) for d, _, files in os.walk(path) for f in files)


class New(Case):
    def test_each_runtime_works_as_it_is_made(self):
        for runtime in RUNTIMES:
            with self.subTest(runtime):
                path = self.new(f'my-{runtime}', runtime)
                self.assertEqual(self.sandctl('check', path).stdout, f'my-{runtime}: 1 function, ok\n')
                r = self.sandctl('invoke', './hello', '--file', 'events/hello.json', cwd=path)
                self.assertIn('Ada', json.dumps(json.loads(r.stdout)))
                self.assertRegex(r.stderr, r'\Ahello: greet.*\n\Z')
                # Without an event, and quietly.
                r = self.sandctl('invoke', '-q', f'{path}/hello')
                self.assertIn('message', json.loads(r.stdout))
                self.assertEqual(r.stderr, '')
                self.assert_nothing_left()

    def test_says_what_comes_next(self):
        for runtime in RUNTIMES:
            out = self.sandctl('new', f'x-{runtime}', '--runtime', runtime).stdout
            for name in self.tree(os.path.join(self.dir, f'x-{runtime}')):
                self.assertIn(f'  x-{runtime}/{name}\n', out)
            self.assertIn('sandctl invoke ./hello --file events/hello.json', out)
            self.assertEqual('  sandctl build ' in out, runtime == 'native')
        self.assertEqual(self.sandctl('new', 'quiet', '-q').stdout, '')

    def test_products_are_not_in_version_control(self):
        path = self.new('c', 'native')
        subprocess.run(['git', 'init', '-q'], cwd=path, env=self.env, check=True)
        out = subprocess.run(['git', 'status', '--porcelain', '-uall'], cwd=path, env=self.env, check=True,
                             capture_output=True, text=True).stdout
        self.assertNotIn('hello.so', out)
        self.assertIn('hello.c', out)

    def test_an_empty_folder_is_used(self):
        for name, word in (('empty', 'empty'), ('slash', 'slash/'), ('here', '.')):
            path = os.path.join(self.dir, name)
            os.mkdir(path)
            self.sandctl('new', word, cwd=path if word == '.' else None)
            with open(f'{path}/sand.json', encoding='utf-8') as f:
                self.assertIn(f'"name": "{name}"', f.read())

    def test_names(self):
        for name, suggested in (('My_App', 'my-app'), ('9lives', 'lives'), ('a-', 'a'), ('x' * 64, 'x' * 63),
                                ('caf\u00e9 2', 'caf-2'), ('...', 'app')):
            r = self.sandctl('new', f'{self.dir}/{name}', status=2)
            self.assertIn(f'Perhaps "{suggested}"?', r.stderr)
            self.assertFalse(os.path.exists(f'{self.dir}/{name}'))
        r = self.sandctl('new', 'app', '--runtime=pyton3', status=2)
        self.assertIn('perhaps "python3"', r.stderr)
        self.sandctl('new', status=2)
        self.sandctl('new', 'app', '-H', 'elsewhere', status=2)
        self.assertEqual(os.listdir(self.dir), ['tmp'])

    def test_nothing_is_written_over(self):
        path = os.path.join(self.dir, 'app')
        os.mkdir(path)
        write(f'{path}/.hidden', 'mine')
        r = self.sandctl('new', 'app', status=2)
        self.assertIn('not empty', r.stderr)
        self.assertEqual(self.tree(path), ['.hidden'])
        write(f'{self.dir}/file', 'mine')
        self.assertIn('not a folder', self.sandctl('new', 'file', status=2).stderr)
        self.sandctl('new', 'absent/app', status=3)
        self.assertFalse(os.path.exists(f'{self.dir}/absent'))

    def test_read_only(self):
        for name in ('app', 'empty'):
            if name == 'empty':
                os.mkdir(f'{self.dir}/empty', 0o755)
            r = self.sandctl('new', name, status=4, user=NOBODY, group=NOBODY, extra_groups=[])
            self.assertIn('Permission denied', r.stderr)
        self.assertEqual(self.tree(self.dir), [])
        self.assertFalse(os.path.exists(f'{self.dir}/app'))

    def test_full_disk(self):
        """Whichever file the last byte or inode is missing for, none is left."""
        script = 'mount -t tmpfs -o "$1" none "$2" && "$3" new "$2/$4"; status=$?; find "$2" -mindepth 1; exit $status'
        path = os.path.join(self.dir, 'app')
        os.mkdir(path)
        failed = 0
        for options in [f'size=1M,nr_inodes={n}' for n in range(2, 11)] + [f'size={4 * n}k' for n in range(1, 6)]:
            for name in ('', 'sub'):
                r = subprocess.run(['unshare', '-m', 'sh', '-c', script, '-', options, path, SANDCTL, name],
                                   env=self.env, capture_output=True, text=True, timeout=60)
                if r.returncode == 0:
                    continue
                failed += 1
                self.assertIn('No space left on device', r.stderr)
                self.assertEqual(r.stdout, '', options)
        self.assertGreater(failed, 10)


class Errors(Case):
    def test_lines_of_the_manifest(self):
        path = self.new('app')
        with open(f'{path}/sand.json', encoding='utf-8') as f:
            good = f.read()
        line = 1 + good[:good.index('"runtime"')].count('\n')
        for text, expected in ((good.replace('python3', 'cobol'), f'sand.json:{line}: /functions/hello/runtime: found "cobol"'),
                               (good.replace('"python3",', '"python3"'), f'sand.json:{line + 1}:7: found \'"\''),
                               (good.replace('hello.handle', 'absent.handle'), f'sand.json:{line + 1}: /functions/hello/handler:')):
            write(f'{path}/sand.json', text)
            for words in (('check', path), ('invoke', f'{path}/hello'), ('deploy', path), ('run', path, '--listen=0')):
                r = self.sandctl(*words, status=4)
                self.assertTrue(r.stderr.startswith(expected), r.stderr)
        self.assert_nothing_left()

    def test_lines_of_python(self):
        for text, expected in (('import os\n\ndef hello(\n', 'f.py:3: SyntaxError: '),
                               ('\nimport absent\n', "f.py:2: ModuleNotFoundError: No module named 'absent'\n"),
                               ('def g():\n  raise KeyError(1)\ndef hello(e, c):\n  g()\n', 'f.py:2: KeyError: 1\n'),
                               ('import json\ndef hello(e, c):\n  json.loads("x")\n', 'f.py:3: JSONDecodeError: ')):
            path = self.python(text)
            r = self.sandctl('invoke', f'{path}/hello', status=1)
            self.assertTrue(r.stderr.startswith(expected), r.stderr)
            self.assertIn(f'  File "{path}/f.py", line ', r.stderr)
            self.assertEqual(r.stdout, '')

    def test_of_a_program_its_own_words(self):
        path = self.new('app', 'exec')
        write(f'{path}/bin/hello', '#!/bin/sh\necho oops >&2\nexit 3\n', 0o755)
        r = self.sandctl('invoke', './hello', cwd=path, status=1)
        self.assertIn('FunctionFailed', r.stderr)
        self.assertIn('oops', r.stderr)
        self.assertIn('3', r.stderr)

    def test_targets(self):
        path = self.python('def hello(e, c): return 1\n')
        r = self.sandctl('invoke', f'{path}/absent', status=3)
        self.assertTrue(r.stderr.startswith('NotFound: '), r.stderr)
        self.assertIn('./app/NAME', self.sandctl('invoke', './app', status=2).stderr)
        self.assertIn('./app/hello', self.sandctl('invoke', 'app/hello', status=3).stderr)
        self.sandctl('invoke', './absent/hello', status=3)


class Invoke(Case):
    def test_the_event(self):
        path = self.python('def hello(e, c): return e\n')
        write(f'{self.dir}/event.json', '[1, 2]')
        for words, stdin in ((('-d', '[1, 2]'), None), (('-d', '@event.json'), None), (('--file', 'event.json'), None),
                             (('-',), '[1, 2]'), ((), '[1, 2]')):
            self.assertEqual(json.loads(self.sandctl('invoke', './app/hello', *words, stdin=stdin).stdout), [1, 2])
        self.assertEqual(self.sandctl('invoke', f'{path}/hello', '-t', 'text/plain', '-d', 'raw').stdout, 'raw')

    def test_functions_call_each_other(self):
        self.python('def hello(e, c): return {"outer": c.call("other", e)}\n'
                    'def other(e, c):\n  print("called")\n  return {"inner": e}\n', ('hello', 'other'))
        r = self.sandctl('invoke', './app/hello', '-d', '7')
        self.assertEqual(json.loads(r.stdout), {'outer': {'inner': 7}})
        self.assertEqual(r.stderr, 'other: called\n')

    def test_no_word_is_lost(self):
        self.python('import sys\nprint("loaded")\n'
                    'def hello(e, c):\n  for i in range(2000): print("line", i)\n  sys.stdout.write("no end")\n')
        for _ in range(5):
            lines = self.sandctl('invoke', './app/hello').stderr.splitlines()
            self.assertEqual(lines, ['hello: loaded'] + [f'hello: line {i}' for i in range(2000)] + ['hello: no end'])

    def test_deadline(self):
        self.python('import time\ndef hello(e, c): time.sleep(30)\n')
        begin = time.monotonic()
        self.sandctl('invoke', './app/hello', '--timeout', '300ms', status=7)
        self.assertLess(time.monotonic() - begin, 5)
        self.assert_nothing_left()

    def test_no_root(self):
        for runtime in RUNTIMES:
            path = self.new(f'my-{runtime}', runtime)
            r = self.sandctl('invoke', f'{path}/hello', user=NOBODY, group=NOBODY, extra_groups=[])
            self.assertIn('message', json.loads(r.stdout))
        self.assert_nothing_left()

    def test_no_place_for_the_sockets(self):
        self.python('def hello(e, c): return 1\n')
        self.env['TMPDIR'] = f'{self.dir}/absent'
        self.sandctl('invoke', './app/hello', status=3)
        self.env['TMPDIR'] = self.tmp + '/' + 'x' * 100
        os.mkdir(self.env['TMPDIR'])
        r = self.sandctl('invoke', './app/hello', status=5)
        self.assertIn('name too long', r.stderr.lower())
        self.assertEqual(os.listdir(self.env['TMPDIR']), [])

    def test_ends_with_all_that_it_started(self):
        self.python('import os, time\n'
                    'def busy(e, c):\n  print("began")\n  while True: pass\n'
                    'def daemon(e, c):\n'
                    '  if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: print("began")\n'
                    '    time.sleep(60)\n  time.sleep(60)\n', ('busy', 'daemon'))
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            for function in ('busy', 'daemon'):
                with self.subTest(f'{sig.name} {function}'):
                    p = subprocess.Popen([SANDCTL, 'invoke', f'./app/{function}', '-d', '{}'], cwd=self.dir, env=self.env,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    self.assertEqual(p.stderr.readline(), f'{function}: began\n')
                    begin = time.monotonic()
                    p.send_signal(sig)
                    out, err = p.communicate(timeout=20)
                    self.assertLess(time.monotonic() - begin, 2)
                    self.assertEqual((out, err), ('', ''))
                    self.assertEqual(p.returncode, -sig if sig == signal.SIGKILL else 128 + sig)
                    self.assert_nothing_left()


class Load(threading.Thread):
    """Calls a function as fast as it answers, until it is told to stop; counts what came."""

    def __init__(self, port, path):
        super().__init__()
        self.port, self.path = port, path
        self.ended = False
        self.answers = collections.Counter()
        self.start()

    def run(self):
        while not self.ended:
            connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
            try:
                for _ in range(20):
                    connection.request('POST', self.path, '{}', {'Content-Type': 'application/json'})
                    answer = connection.getresponse()
                    self.answers[answer.status, answer.read().decode()] += 1
            except OSError as e:
                self.answers[repr(e), ''] += 1
            connection.close()

    def stop(self):
        self.ended = True
        self.join()
        return self.answers


class Run(Case):
    def begin(self, path):
        self.out = os.path.join(self.dir, 'out')
        with open(self.out, 'w', encoding='utf-8') as f:
            self.run_process = subprocess.Popen([SANDCTL, 'run', path, '--listen=0'], cwd=self.dir, env=self.env,
                                                stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        self.await_text('http://')
        self.port = int(re.search(r'http://127\.0\.0\.1:(\d+)', self.text()).group(1))

    def text(self):
        with open(self.out, encoding='utf-8') as f:
            return f.read()

    def await_text(self, text, n=1):
        self.assertTrue(within(20, lambda: self.text().count(text) >= n), f'no "{text}" in: {self.text()}')

    def end(self):
        self.run_process.send_signal(signal.SIGINT)
        self.assertEqual(self.run_process.wait(20), 0)
        self.assert_nothing_left()

    def post(self, path):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        connection.request('POST', path, '{}', {'Content-Type': 'application/json'})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def replace(self, path, text):
        """As editors do: another file, renamed into its place."""
        write(path + '.new~', text)
        os.rename(path + '.new~', path)

    def test_urls(self):
        path = self.python('def one(e, c): return 1\ndef two(e, c): return 2\n', ('one', 'two'))
        self.begin(path)
        for name in ('one', 'two'):
            self.assertIn(f'http://127.0.0.1:{self.port}/invoke/app/{name}\n', self.text())
        self.assertEqual(self.post('/invoke/app/two'), (200, '2'))
        self.end()

    def test_no_event_fails_while_code_changes(self):
        path = self.python('def hello(e, c): return 0\n')
        self.begin(path)
        load = [Load(self.port, '/invoke/app/hello') for _ in range(3)]
        for i in range(1, 6):
            self.replace(f'{path}/f.py', f'def hello(e, c): return {i}\n')
            self.await_text('app: reloaded in ', i)
        answers = sum((l.stop() for l in load), collections.Counter())
        self.assertEqual({status for status, _ in answers}, {200}, answers)
        self.assertEqual({body for _, body in answers} - set('012345'), set(), answers)
        self.assertEqual(self.post('/invoke/app/hello'), (200, '5'))
        self.assertRegex(self.text(), r'app: reloaded in [0-9.]+m?s, changed: f\.py\n')
        self.end()

    def test_no_event_fails_while_a_library_is_built_anew(self):
        path = self.new('app', 'native')
        with open(f'{path}/hello.c', encoding='utf-8') as f:
            source = f.read()
        self.begin(path)
        load = Load(self.port, '/invoke/app/hello')
        for i in range(1, 4):
            self.replace(f'{path}/hello.c', source.replace('Hello from C!', f'version {i}'))
            subprocess.run(['make', '-s', '-C', path], env=self.env, check=True)
            self.assertTrue(within(20, lambda: f'version {i}' in self.post('/invoke/app/hello')[1]), self.text())
        answers = load.stop()
        self.assertEqual({status for status, _ in answers}, {200}, answers)
        self.end()

    def test_what_does_not_load_replaces_nothing(self):
        path = self.python('def hello(e, c): return 0\n')
        self.begin(path)
        self.assertEqual(self.post('/invoke/app/hello'), (200, '0'))
        load = Load(self.port, '/invoke/app/hello')
        self.replace(f'{path}/f.py', '\ndef hello(\n')
        self.await_text('\nf.py:2: SyntaxError: ')
        self.await_text('the code loaded before goes on', 1)
        self.replace(f'{path}/sand.json', '{\n "name": 1 }')
        self.await_text('\nsand.json:2: /name: ')
        self.await_text('the code loaded before goes on', 2)
        # One that would be another application with other functions, but whose code is still broken.
        write(f'{path}/sand.json', json.dumps({'name': 'app', 'functions': {
            'other': {'runtime': 'python3', 'handler': 'f.other'}}}))
        self.await_text('the code loaded before goes on', 3)
        self.assertEqual(set(load.stop()), {(200, '0')})
        self.replace(f'{path}/f.py', 'def other(e, c): return 1\n')
        self.await_text('/invoke/app/other\n')
        self.assertEqual(self.post('/invoke/app/other'), (200, '1'))
        self.assertEqual(self.post('/invoke/app/hello')[0], 404)
        self.end()

    def test_broken_from_the_start(self):
        path = self.python('import absent\n')
        self.begin(path)
        self.await_text("f.py:1: ModuleNotFoundError: No module named 'absent'; ")
        self.assertEqual(self.post('/invoke/app/hello')[0], 502)
        self.replace(f'{path}/f.py', 'def hello(e, c): return 1\n')
        self.await_text('app: reloaded in ')
        self.assertEqual(self.post('/invoke/app/hello'), (200, '1'))
        self.end()

    def test_what_is_watched(self):
        path = self.python('def hello(e, c): return open("data/sub/x").read()\n')
        self.begin(path)
        os.makedirs(f'{path}/data/sub')
        write(f'{path}/data/sub/x', '1')
        self.await_text('app: reloaded in ')
        n = self.text().count('reloaded') + 1
        write(f'{path}/data/sub/x', '2')
        self.await_text('app: reloaded in ', n)
        self.assertTrue(self.text().endswith('changed: data/sub/x\n'), self.text())
        os.makedirs(f'{path}/.git/objects')
        os.makedirs(f'{path}/__pycache__')
        write(f'{path}/.git/HEAD', 'x')
        write(f'{path}/__pycache__/f.pyc', 'x')
        write(f'{path}/f.py~', 'x')
        write(f'{path}/.f.py.swp', 'x')
        time.sleep(0.7)
        self.assertEqual(self.text().count('reloaded'), n, self.text())
        os.mkdir(f'{path}/events')
        self.await_text('app: reloaded in ', n + 1)
        write(f'{path}/events/hello.json', '{}')
        time.sleep(0.7)
        self.assertEqual(self.text().count('reloaded'), n + 1, self.text())
        self.end()

    def test_a_burst_is_one_change(self):
        path = self.python('def hello(e, c): return 0\n')
        self.begin(path)
        for i in range(20):
            write(f'{path}/f.py', f'def hello(e, c): return {i}\n')
            time.sleep(0.02)
        self.await_text('app: reloaded in ')
        time.sleep(0.5)
        self.assertLessEqual(self.text().count('reloaded'), 2)
        self.assertEqual(self.post('/invoke/app/hello'), (200, '19'))
        self.end()

    def test_killed(self):
        path = self.python('def hello(e, c):\n  print("began")\n  while True: pass\n')
        self.begin(path)
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        connection.request('POST', '/invoke/app/hello', '{}')
        self.await_text('hello: began')
        self.run_process.kill()
        self.run_process.wait()
        self.assert_nothing_left()
        connection.close()


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=1)

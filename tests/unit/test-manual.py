#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written about the programs against the programs: test-manual.py SANDCTL SOURCE. Every verb and option
of sandctl's help is in its manual page and in both completions, and the other way round; every setting of
gatewayd.conf is in its page, with the same default."""

import os
import re
import subprocess
import sys

sandctl, source = sys.argv[1:]
problems = []


def read(name):
    with open(os.path.join(source, name), encoding="utf-8") as file:
        return file.read()


def run(*arguments):
    return subprocess.run([sandctl, *arguments], check=True, capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_PAGER": ""}).stdout


def same(what, found, expected):
    for name in sorted(found ^ expected):
        problems.append(f"{what}: {name} is only in {'it' if name in found else 'the help'}")


page = read("tools/man/sandctl.1.scd")
verbs = re.findall(r"^  ([a-z]+) ", re.search(r"Verbs:\n(.*?)\n\n", run("--help"), re.S).group(1), re.M)
options = {verb: set(re.findall(r"^  .{4}(--[a-z-]+)", run(verb, "--help"), re.M)) for verb in verbs}
every = set.union(*options.values())

same("man sandctl, verbs", set(re.findall(r"^\*([a-z]+)\*(?: \[?_|$)", page, re.M)), set(verbs))
same("man sandctl, options", set(re.findall(r"(--[a-z-]+)", re.search(r"# OPTIONS(.*?)# EXIT", page, re.S).group(1))), every)

bash = read("tools/completion/sandctl.bash")
common = set(re.findall(r"--[a-z-]+", re.search(r"common='(.*?)'", bash).group(1)))
own = dict(re.findall(r"\[([a-z]+)\]='(.*?)'", bash))
same("bash, verbs", set(re.search(r"verbs='(.*?)'", bash).group(1).split()), set(verbs))
for verb in verbs:
    same(f"bash, {verb}", common | set(re.findall(r"--[a-z-]+", own.get(verb, ""))), options[verb])
same("zsh, options", set(re.findall(r"--[a-z][a-z-]*(?=[=\[,}'])", read("tools/completion/_sandctl"))), every)

settings = dict(re.findall(r"^#([A-Z]\w+)=(\S+)$", read("units/gatewayd.conf"), re.M))
described = {name: text.rstrip(".") for name, text in
             re.findall(r"^\*(\w+)=\*\n(?:.*\n)*?.*Defaults to (\S+)", read("tools/man/gatewayd.conf.5.scd"), re.M)}
if settings != described or not settings:
    problems.append(f"gatewayd.conf: {sorted(set(settings.items()) ^ set(described.items()))}")

print("\n".join(problems))
sys.exit(bool(problems))

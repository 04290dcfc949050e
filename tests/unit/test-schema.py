#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parser of sand.json and the JSON schema that editors use say the same of every example.

test-schema.py MANIFEST-VERDICT SCHEMA DIRECTORY, where the directory holds
  good-*.json    both take it
  bad-*.json     both refuse it
  beyond-*.json  the parser alone refuses it, for what a schema cannot say
"""
import json
import pathlib
import re
import subprocess
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("SKIP: python3-jsonschema is not installed")
    sys.exit(77)

# kind: what the parser says, what the schema says
EXPECTED = {"good": ("good", "good"), "bad": ("bad", "bad"), "beyond": ("bad", "good")}


def without_comments(text):
    return re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*', lambda m: m.group(1) or "", text)


def schema_verdict(validator, path):
    try:
        document = json.loads(without_comments(path.read_text()))
    except json.JSONDecodeError:
        return "bad"
    return "good" if validator.is_valid(document) else "bad"


def main():
    program, schema_path, directory = sys.argv[1:]
    schema = json.loads(pathlib.Path(schema_path).read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    paths = sorted(pathlib.Path(directory).glob("*.json"))
    seen = {kind: 0 for kind in EXPECTED}
    output = subprocess.run([program, *paths], check=True, capture_output=True, text=True).stdout
    parser = dict(re.findall(r"^(/?\S+\.json): (good|bad)$", output, re.M))
    failures = 0
    for path in paths:
        kind = path.name.split("-")[0]
        seen[kind] += 1
        found = (parser[str(path)], schema_verdict(validator, path))
        if found != EXPECTED[kind]:
            failures += 1
            print(f"{path.name}: parser {found[0]}, schema {found[1]}, expected {', '.join(EXPECTED[kind])}")
    print(f"{len(paths)} examples, {failures} failed:", ", ".join(f"{n} {kind}" for kind, n in seen.items()))
    return 1 if failures or not all(seen.values()) else 0


sys.exit(main())

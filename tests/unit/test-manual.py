#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written about the programs against the programs and their tables: test-manual.py BUILD SOURCE. What the help
of a program lists, what a parser takes, what the library exports, which errors there are and which variables are read is
in the manual pages, and nothing else is. What is on the bus is compared in tests/host/test-60-hostd."""

import glob
import json
import os
import re
import subprocess
import sys

build, source = sys.argv[1:]
problems = []


def read(name):
    with open(os.path.join(source, name), encoding="utf-8") as file:
        return file.read()


def read_all(pattern):
    return "\n".join(read(os.path.relpath(path, source)) for path in sorted(glob.glob(os.path.join(source, pattern))))


def page(name):
    return read(f"tools/man/{name}.scd")


def section(text, name):
    found = re.search(rf"^# {re.escape(name)}\n(.*?)(?=^# |\Z)", text, re.S | re.M)
    if not found:
        problems.append(f"no section {name} in {text.split(chr(10))[0]}")
    return found.group(1) if found else ""


def entries(text):
    """What is described in a list of a page: names in bold or with =, to the text below them."""
    found = {}
    for heads, body in re.findall(r"^(\*.*)\n((?:\t.*\n|\n(?=\t))+)", text + "\n", re.M):
        for name in re.findall(r"\*([^*]+?)=?\*", heads):
            found[name] = body
    return found


def run(program, *arguments):
    return subprocess.run([os.path.join(build, program), *arguments], check=True, capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_PAGER": ""}).stdout


def same(what, found, expected, other="the help"):
    for name in sorted(set(found) ^ set(expected)):
        problems.append(f"{what}: {name} is only in {'it' if name in found else other}")


def check_sandctl():
    text = page("sandctl.1")
    verbs = re.findall(r"^  ([a-z][a-z-]*) ", re.search(r"Verbs:\n(.*?)\n\n", run("sandctl", "--help"), re.S).group(1), re.M)
    options = {verb: set(re.findall(r"^  .{4}(--[a-z-]+)", run("sandctl", verb, "--help"), re.M)) for verb in verbs}
    every = set.union(*options.values())
    same("man sandctl, verbs", re.findall(r"^\*([a-z][a-z-]*)\*(?: \[?_|$)", text, re.M), verbs)
    same("man sandctl, options", re.findall(r"(--[a-z-]+)", section(text, "OPTIONS")), every)

    bash = read("tools/completion/sandctl.bash")
    common = set(re.findall(r"--[a-z-]+", re.search(r"common='(.*?)'", bash).group(1)))
    own = dict(re.findall(r"\[([a-z][a-z-]*)\]='(.*?)'", bash, re.S))
    same("bash, verbs", re.search(r"verbs='(.*?)'", bash).group(1).split(), verbs)
    for verb in verbs:
        same(f"bash, {verb}", common | set(re.findall(r"--[a-z-]+", own.get(verb, ""))), options[verb])
    same("zsh, options", re.findall(r"--[a-z][a-z-]*(?=[=\[,}'])", read("tools/completion/_sandctl")), every)


def check_other_programs():
    for program, name in (("sand-call", "sand-call.1"), ("sand-gatewayd", "sand-gatewayd.8"),
                          ("sand-globald", "sand-globald.8"), ("sand-hostd", "sand-hostd.8"),
                          ("sand-supervisord", "sand-supervisord.8")):
        text = page(name)
        told = set(re.findall(r"^ +(?:-\w )? *(?:-\w,)? *(--[a-z-]+)", run(program, "--help"), re.M))
        said = section(text, "SYNOPSIS") + section(text, "OPTIONS")
        same(f"man {program}, options", re.findall(r"\*(--[a-z-]+)=?\*", said), told)


def check_settings_of(daemon):
    conf = f"{daemon}.conf"
    table = {name: range_ for name, range_ in
             re.findall(r'X\((?:"\w+", )?"(\w+)", CONF_.*?"([^"]*)"\)', read(f"daemons/{daemon}/settings.h"), re.S)}
    described = entries(section(page(f"{conf}.5"), "OPTIONS"))
    same(f"{conf}(5)", described, table, "the parser")
    defaults = dict(re.findall(r"^#([A-Z]\w+)=(\S*)$", read(f"units/{conf}"), re.M))
    for name, body in described.items():
        told = re.search(r"(?:Defaults to (\S+)|(\S+) by default)", body)
        if defaults.get(name) and (not told or (told[1] or told[2]).rstrip(".") != defaults[name]):
            problems.append(f"{conf}(5): {name}= is {defaults[name]} by default")
        bounds = re.search(r"(?:from \S+ to|up to) \S+", table.get(name, ""))
        if bounds and bounds[0] not in " ".join(body.split()):
            problems.append(f"{conf}(5): {name}= is {bounds[0]}")
    same(f"units/{conf}", defaults, table, "the parser")


def check_settings():
    """gatewayd.conf, globald.conf and hostd.conf: what is read, what is described, and the files with the defaults."""
    for daemon in ("gatewayd", "globald"):
        check_settings_of(daemon)
    same("hostd.conf(5)", entries(section(page("hostd.conf.5"), "OPTIONS")),
         re.findall(r'\{ "\w+", "(\w+)", CONF_', read("daemons/hostd/settings.c")), "the parser")


def schema_object(schema, table):
    """Where the keys of a parser's table are in the schema."""
    functions = schema["$defs"]["function"]["properties"]
    items = {name.removesuffix("s"): key["items"] for name, key in schema["properties"].items() if "items" in key}
    places = {"document": schema, "function_resources": functions["resources"], **items, **functions, **schema["$defs"]}
    return places[table]["properties"]


def check_manifest():
    """sand.json: the parser's tables, the schema, and the page, with the defaults."""
    schema = json.loads(read("tools/sand.schema.json"))
    parser, text = read_all("daemons/shared/manifest*.c"), page("sand.json.5")
    later = set()
    for table, body in re.findall(r"static const Key (\w+)_keys\[\] = \{(.*?)^\};", parser, re.S | re.M):
        later |= set(re.findall(r'UNSERVED\("(\w+)"\)', body))
        same(f"sand.schema.json, {table}", schema_object(schema, table), re.findall(r'^ +\{ "([^"]+)"', body, re.M),
             "the parser")
    properties = re.search(r"static const Property \w+\[\] = \{(.*?)^\};", parser, re.S | re.M).group(1)
    properties = re.findall(r'\{ "(\w+)"', properties)
    same("sand.schema.json, resources", schema["properties"]["resources"]["properties"], properties, "the parser")
    told = entries(section(text, "KEYS OF THE APPLICATION"))["resources"]
    same("sand.json(5), resources", re.findall(r"_([A-Z]\w+)_", told), properties, "the parser")

    check_keys("resources", schema["properties"]["resources"]["properties"], {})
    keys = {name: key["properties"] for name, key in schema["$defs"].items() if "properties" in key}
    function = keys["function"]
    parts = {"KEYS OF THE APPLICATION": schema["properties"], "KEYS OF A FUNCTION": function,
             "ASYNCHRONOUS EVENTS": keys["retry"], "HTTP TRIGGERS": keys["http"], "TIMER TRIGGERS": keys["timer"],
             "PATH TRIGGERS": keys["path"], "EVENT TRIGGERS": keys["topic"]}
    for name, part in parts.items():
        described = entries(section(text, name))
        same(f"sand.json(5), {name}", {n for n in described if re.fullmatch(r"[$\w]+", n)}, part, "the schema")
        check_keys(name, part, described)
    for name in ("instances", "queue", "resources"):
        check_keys(name, function[name]["properties"], entries(section(text, "KEYS OF A FUNCTION")), within=name)
    check_keys("cors", keys["cors"], entries(section(text, "HTTP TRIGGERS")), within="cors")
    told = set(re.findall(r"\*(\w+)\*", section(text, "KEYS OF LATER VERSIONS")))
    for name in sorted(later - told - set(properties)):
        problems.append(f"sand.json(5): {name} is of a later version")


def check_keys(where, keys, described, within=None):
    for name, key in keys.items():
        body = described.get(within or name, "")
        if within and f"*{name}*" not in body:
            problems.append(f"sand.json(5), {within}: {name} is not in it")
        if not name.startswith("$") and "description" not in key:
            problems.append(f"sand.schema.json, {where}: {name} has no description")
        default = key.get("default")
        if default and (default if isinstance(default, str) else json.dumps(default)) not in body:
            problems.append(f"sand.json(5), {where}: {name} is {key['default']} by default")


def check_library():
    """sand_function(3): the header's declarations, the exported symbols, the page's parts, and its other names."""
    def declarations(text):
        text = re.sub(r"/\*.*?\*/|\s*__attribute__\(.*?\)(?=;)", "", text, flags=re.S)
        found = re.findall(r"^((?:typedef int|const \w+|\w+) \(?\*?\w+\)?\([^;]*\));", text, re.M)
        return {re.sub(r"\s+", " ", one) for one in found}

    text = page("sand_function.3")
    symbols = set(re.findall(r"(sand_\w+);", read("daemons/libsand/libsand.sym")))
    header = declarations(read("include/sand/function.h"))
    same("sand_function(3), SYNOPSIS", declarations(section(text, "SYNOPSIS")), header, "the header")
    declared = {re.search(r"(sand_\w+)\)?\(", one).group(1) for one in header}
    same("function.h", declared - {"sand_function"}, symbols, "libsand.sym")
    named = set(re.findall(r"sand_\w+", section(text, "NAME")))
    same("sand_function(3), NAME", named, declared, "the header")
    same("man page names", aliases()["sand_function.3"], {f"{name}.3" for name in symbols}, "libsand.sym")
    said = section(text, "DESCRIPTION") + section(text, "RETURN VALUE")
    same("sand_function(3), DESCRIPTION", set(re.findall(r"\*(sand_\w+)\*\(\)", said)) & symbols, symbols, "libsand.sym")


def check_errors():
    """sand(7) and sandctl(1): statuses of HTTP and of programs."""
    table = {name: (http, status) for name, http, status in
             re.findall(r'ROW\("(\w+)",\s*(\d+), (\d)', read("daemons/shared/error.c")) if http != "0"}
    told = {}
    for heads, body in re.findall(r"^(\*.*)\n((?:\t.*\n)+)", section(page("sand.7"), "ERRORS"), re.M):
        names = re.findall(r"\*(\w+)\*", heads)
        codes = re.search(r"HTTP ([\d, ]+)", body).group(1).split(",")
        status = re.search(r"(?:exits with|exit status) (\d)", body).group(1)
        for i, name in enumerate(names):
            told[name] = (codes[min(i, len(codes) - 1)].strip(), status)
    for name in sorted(set(told) | set(table)):
        if told.get(name) != table.get(name):
            problems.append(f"sand(7): {name} is {table.get(name)}, not {told.get(name)}")
    statuses = {status for _, status in table.values()} | {"0"}
    same("sandctl(1), EXIT STATUS", entries(section(page("sandctl.1"), "EXIT STATUS")), statuses, "the table of errors")
    same("org.sand.Host1(5), ERRORS", set(re.findall(r"_(?:org\.sand\.Error\.)?(\w+)_", section(
        page("org.sand.Host1.5"), "ERRORS"))) - set(table), [], "the table of errors")


def aliases():
    text = re.search(r"man_pages = \{(.*?)\n\}", read("tools/man/meson.build"), re.S).group(1)
    return {name: re.findall(r"'([^']+)'", others) for name, others in re.findall(r"'([^']+)': \[(.*?)\]", text, re.S)}


def check_pages():
    """Every unit and program has a page; pages have what a reader looks for, and refer to what there is."""
    pages = aliases()
    names = set(pages) | {alias for others in pages.values() for alias in others}
    units = {os.path.basename(path).removesuffix(".in") for kind in ("service", "socket", "path", "slice", "target")
             for end in ("", ".in") for path in glob.glob(os.path.join(source, "units", f"*.{kind}{end}"))}
    for unit in sorted(unit for unit in units if not unit.startswith("org.") and f"{unit}.8" not in names):
        problems.append(f"{unit} has no page")
    for name in pages:
        text = page(name)
        programs = ("SYNOPSIS", "OPTIONS", "EXIT STATUS", "EXAMPLES") if name[-1] == "1" else ()
        for needed in ("NAME", "SEE ALSO", *programs):
            section(text, needed)
        title = section(text, "NAME").split(" - ")[0].replace("\n", " ")
        of_units = {unit.replace("@", "").rsplit(".", 1)[0] for unit in units}
        told = set(title.strip().split(", "))
        missing = {one[:-2] for one in [name, *pages[name]]} - told - of_units
        for one in sorted(missing):
            problems.append(f"{name}: {one} is not in NAME")
        for other, number in re.findall(r"\*(sand[\w.@-]*|org\.sand\.\w+|\w+d\.conf)\*\((\d)\)", text):
            if f"{other}.{number}" not in names and other not in ("journald.conf", "resolved.conf"):
                problems.append(f"{name}: there is no {other}({number})")


def check_environment():
    read_ones = set(re.findall(r'getenv\("(\w+)"\)', read_all("daemons/*/*.c") + read_all("tools/*.c")))
    text = read_all("tools/man/*.scd").replace("\\_", "_")
    for name in sorted(name for name in read_ones if f"_{name}_" not in text):
        problems.append(f"${name} is read and in no page")


for check in (check_sandctl, check_other_programs, check_settings, check_manifest, check_library, check_errors,
              check_pages, check_environment):
    check()
print("\n".join(problems))
sys.exit(bool(problems))

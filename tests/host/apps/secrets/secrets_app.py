# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads its secrets; and one that has none looks for those of the others."""

import glob
import hashlib
import os


def read(event, context):
    directory = os.environ["CREDENTIALS_DIRECTORY"]
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            value = file.read()
        status = os.stat(path)
        found[name] = {
            "size": len(value),
            "sha256": hashlib.sha256(value).hexdigest(),
            "mode": oct(status.st_mode & 0o7777),
            "mine": status.st_uid == os.getuid(),
        }
    status, mount = os.stat(directory), ""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            if line.split()[4] == directory:
                mount = line.split()[5] + " " + line.split(" - ")[1].split()[0]
    refused = []
    for what in ("open", "chmod", "unlink"):
        try:
            if what == "open":
                open(os.path.join(directory, "new"), "w").close()
            elif what == "chmod":
                os.chmod(directory, 0o777)
            else:
                os.unlink(os.path.join(directory, name))
        except OSError:
            refused.append(what)
    return {"found": found, "directory": oct(status.st_mode & 0o7777), "mount": mount, "refused": refused,
            "pid": os.getpid()}


def fail(event, context):
    with open(os.environ["CREDENTIALS_DIRECTORY"] + "/api-key", "rb") as file:
        value = file.read()
    raise ValueError(f"the key has {len(value)} bytes")


def search(event, context):
    """Wherever a file can be read, and in what processes show of themselves."""
    needle, found = event["needle"].encode(), []
    places = ["/credentials", "/run/credentials", "/run/host/credentials", "/run/credentials/set"]
    for place in places + glob.glob("/proc/[0-9]*/root/credentials") + glob.glob("/proc/[0-9]*/cwd"):
        try:
            if os.listdir(place) and place.endswith("credentials"):
                found.append(place)
        except OSError:
            pass
    for top in ("/app", "/credentials", "/dev/shm", "/etc", "/run", "/state", "/tmp", "/var"):
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    with open(os.path.join(folder, name), "rb") as file:
                        if needle in file.read(1 << 20):
                            found.append(os.path.join(folder, name))
                except OSError:
                    pass
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline", "mem", "root/credentials/api-key"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    if needle in file.read(1 << 20) and int(pid) != os.getpid():
                        found.append(f"/proc/{pid}/{name}")
            except OSError:
                pass
    return {"found": found, "environment": [name for name in os.environ if "CREDENTIAL" in name]}

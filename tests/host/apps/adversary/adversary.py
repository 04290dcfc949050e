# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tries what must not be possible, and reports what was.

Each attack returns a list of what it achieved: empty when the platform held. It runs with all that a function
can have: Python, libc by ctypes, and the programs of /usr.
"""

import ctypes
import errno
import os
import signal
import socket
import stat
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)


def attack(event, context):
    return globals()["attack_" + event["what"]](event)


def sibling(event, context):
    """Another function of the same application: has a worker and uid of its own, and stays a while."""
    time.sleep(event.get("seconds", 0))
    return {"pid": os.getpid(), "uid": os.getuid()}


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def uid_of(pid):
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def attack_read(event):
    """Files that are another application's or the host's."""
    achieved = []
    for path in event["paths"]:
        try:
            with open(path, "rb") as file:
                file.read(1)
            achieved.append(path)
        except OSError:
            pass
    return achieved


def attack_find_secret(event):
    """Looks into every readable file outside of /usr and /proc for the victim's secret."""
    achieved = []
    for top, directories, files in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(top, d) not in ("/proc", "/sys", "/usr", "/dev")]
        for name in files:
            path = os.path.join(top, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as file:
                        if b"SECRET-OF-" + b"THE-VICTIM" in file.read(1 << 20):
                            achieved.append(path)
            except OSError:
                pass
    return achieved


def attack_sockets(event):
    """Any socket file that can be connected to, and abstract ones."""
    achieved = []
    paths = list(event.get("paths", []))
    for top, directories, files in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(top, d) not in ("/proc", "/sys", "/usr")]
        for name in files:
            path = os.path.join(top, name)
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    paths.append(path)
            except OSError:
                pass
    for path in paths:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            try:
                with socket.socket(socket.AF_UNIX, kind) as s:
                    s.connect(path)
                    achieved.append(path)
            except OSError:
                pass
    return achieved


def attack_signal(event):
    """Signals to the supervisor and to processes of other functions. Its own worker it may kill."""
    achieved = []
    for pid in processes():
        if pid == os.getpid() or uid_of(pid) == os.getuid():
            continue
        try:
            os.kill(pid, signal.SIGKILL)
            achieved.append(f"kill {pid} {name_of(pid)}")
        except OSError:
            pass
        try:
            fd = os.pidfd_open(pid)
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            achieved.append(f"pidfd {pid} {name_of(pid)}")
        except OSError:
            pass
    return achieved


def attack_others_memory(event):
    """Memory, descriptors and environment of every other process, its own worker included."""
    achieved = []
    for pid in processes():
        if pid == os.getpid():
            continue
        for name in ("mem", "environ", "maps"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    if name == "mem" or file.read(1):
                        achieved.append(f"/proc/{pid}/{name}")
            except OSError:
                pass
        try:
            os.listdir(f"/proc/{pid}/fd")
            achieved.append(f"/proc/{pid}/fd")
        except OSError:
            pass
        ctypes.set_errno(0)
        if libc.ptrace(16, pid, None, None) == 0:  # PTRACE_ATTACH
            achieved.append(f"ptrace {pid}")
        local = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(1)), 1)
        remote = (ctypes.c_size_t * 2)(0x400000, 1)
        ctypes.set_errno(0)
        if libc.process_vm_readv(pid, local, 1, remote, 1, 0) >= 0 or ctypes.get_errno() == errno.EFAULT:
            achieved.append(f"process_vm_readv {pid}")
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        if libc.syscall(438, pidfd, 1, 0) >= 0:  # pidfd_getfd
            achieved.append(f"pidfd_getfd {pid}")
    return achieved


def attack_network(event):
    achieved = []
    for address in ("127.0.0.1", "::1", "1.1.1.1", "192.168.0.1", "10.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in (8080, 80, 53, 22):
            try:
                with socket.socket(family, socket.SOCK_STREAM) as s:
                    s.settimeout(0.2)
                    s.connect((address, port))
                    achieved.append(f"tcp {address}:{port}")
            except OSError:
                pass
    for family, kind, protocol in ((socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, 1),
                                   (socket.AF_NETLINK, socket.SOCK_RAW, 0),
                                   (socket.AF_VSOCK, socket.SOCK_STREAM, 0)):
        try:
            socket.socket(family, kind, protocol).close()
            achieved.append(f"socket {family!r} {kind!r}")
        except OSError:
            pass
    # socket.if_nameindex() would ask by netlink, which there is none of.
    with open("/proc/self/net/dev", encoding="ascii") as file:
        achieved += [name for name in (line.split(":")[0].strip() for line in list(file)[2:]) if name != "lo"]
    return achieved


def attack_write(event):
    """A new file in every directory that there is, and every file opened for writing."""
    allowed = ("/tmp", "/state", "/var/tmp", "/dev/shm")
    achieved = []
    for top, directories, files in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(top, d) not in ("/proc", *allowed)]
        if top.count("/") > 4:
            directories[:] = []
        path = os.path.join(top, ".written-by-adversary")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            os.unlink(path)
            achieved.append(path)
        except OSError:
            pass
        for name in files:
            path = os.path.join(top, name)
            try:
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode):
                    os.close(os.open(path, os.O_WRONLY))
                    achieved.append(path)
                elif stat.S_ISBLK(mode):
                    os.close(os.open(path, os.O_RDONLY))
                    achieved.append(path)
            except OSError:
                pass
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            achieved.append(path)
        except OSError:
            pass
    return achieved


def attack_write_state(event):
    """The one thing that is allowed: what is not in the result is wrong here."""
    achieved = []
    for directory in ("/state", "/tmp"):
        try:
            with open(f"{directory}/mine", "w") as file:
                file.write("x")
            achieved.append(directory)
        except OSError as error:
            print(error, file=sys.stderr)
    return achieved


def attack_fork(event):
    """As many processes as possible, all of which stay. Returns how many there were."""
    children = 0
    try:
        while children < 5000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError:
        pass
    return children


def attack_stay(event):
    """A process that leaves session, group and parent, ignores what can be ignored, and stays."""
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        if os.fork():
            os._exit(0)
        os.execv("/usr/bin/sleep", ["sleep", event["seconds"]])
    os.wait()
    return []


def attack_privileges(event):
    achieved = []
    for name, call in {
        "setuid": lambda: os.setuid(0),
        "setgroups": lambda: os.setgroups([0]),
        "chroot": lambda: os.chroot("/tmp"),
        "nice": lambda: os.nice(-5),
        "sethostname": lambda: socket.sethostname("mine"),
        "mknod": lambda: os.mknod("/tmp/device", stat.S_IFBLK | 0o600, os.makedev(254, 0)),
        "settime": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    }.items():
        try:
            call()
            achieved.append(name)
        except OSError:
            pass
    for name, arguments in {
        "unshare user": ("unshare", 0x10000000), "unshare net": ("unshare", 0x40000000),
        "unshare mount": ("unshare", 0x20000), "mount": ("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "umount": ("umount2", b"/usr", 2), "personality": ("personality", 0x0400000),
        "keyctl": ("syscall", 250, 0, -3, 1), "bpf": ("syscall", 321, 0, 0, 0), "io_uring": ("syscall", 425, 1, 0),
        "userfaultfd": ("syscall", 323, 0), "perf": ("syscall", 298, 0, 0, -1, -1, 0),
    }.items():
        ctypes.set_errno(0)
        result = getattr(libc, arguments[0])(*arguments[1:])
        # A call that looked at its arguments was not stopped by the filter.
        if result >= 0 or ctypes.get_errno() in (errno.EFAULT, errno.EINVAL):
            achieved.append(f"{name} ({result}, {os.strerror(ctypes.get_errno())})")
    with open("/proc/self/status") as file:
        status = dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            achieved.append(f"{name} {status[name]}")
    if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        achieved.append(f"NoNewPrivs {status['NoNewPrivs']} Seccomp {status['Seccomp']}")
    if os.getuid() == 0 or os.getgid() == 0 or 0 in os.getgroups():
        achieved.append("root")
    return achieved


def attack_inherited(event):
    """Descriptors and variables that a function must not see."""
    achieved = [name for name in os.environ
                if name.startswith(("LISTEN_", "WATCHDOG_", "NOTIFY_", "container", "SYSTEMD_", "CREDENTIALS_"))]
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if int(fd) > 3:
            achieved.append(f"{fd} -> {target}")
    return achieved

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Compiles the seccomp filters to BPF at build time: at run time loading one costs a system call, while
 * compiling it took four fifths of a container's start. Writes a C header with two programs, each for every
 * ABI of the architecture:
 *
 *   machine_filter   what systemd-nspawn allows a container (its list is in nspawn-seccomp.c), less what
 *                    no process of a machine needs. Loaded by the supervisor before anything else.
 *   function_filter  on top of it in every worker: no new namespaces, no mounts, no other process's memory,
 *                    no exotic kernel interface, no file with a set-id bit.
 *
 * What a filter does not allow fails with EPERM, an unknown architecture kills the process. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define N(x) (sizeof(x) / sizeof((x)[0]))

static const char *const allowed[] = {
        /* files and directories */
        "access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range", "creat", "dup",
        "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fchdir", "fchmod",
        "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr",
        "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64",
        "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr",
        "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl", "lchown", "lchown32",
        "lgetxattr", "link", "linkat", "listxattr", "llistxattr", "lremovexattr", "lseek", "_llseek", "lsetxattr",
        "lstat", "lstat64", "memfd_create", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "oldfstat",
        "oldlstat", "oldstat", "open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2",
        "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readdir", "readlink", "readlinkat", "readv",
        "removexattr", "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "setxattr", "splice",
        "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs",
        "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64",
        "utimes", "vmsplice", "write", "writev", "chroot", "name_to_handle_at",
        /* events */
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
        "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64",
        "select", "_newselect",
        /* memory */
        "brk", "get_mempolicy", "madvise", "mbind", "membarrier", "migrate_pages", "mincore", "mlock", "mlock2",
        "mlockall", "mmap", "mmap2", "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap", "pkey_alloc",
        "pkey_free", "pkey_mprotect", "remap_file_pages", "set_mempolicy", "shmat", "shmctl", "shmdt", "shmget",
        
        /* processes */
        "arch_prctl", "capget", "capset", "clone", "execve", "execveat", "exit", "exit_group", "fork",
        "get_robust_list", "get_thread_area", "getcpu", "getegid", "getegid32", "geteuid", "geteuid32", "getgid",
        "getgid32", "getgroups", "getgroups32", "getpgid", "getpgrp", "getpid", "getpriority", "getresgid",
        "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "getuid32",
        "ioprio_get", "ioprio_set", "kill", "landlock_add_rule", "landlock_create_ruleset",
        "landlock_restrict_self", "nice", "pause", "personality", "pidfd_open", "pidfd_send_signal", "prctl",
        "prlimit64", "restart_syscall", "rseq", "sched_get_priority_max", "sched_get_priority_min",
        "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
        "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
        "sched_yield", "seccomp", "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32",
        "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setpgid", "setpriority",
        "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
        "setrlimit", "setsid", "setuid", "setuid32", "sysinfo", "tgkill", "times", "tkill", "ugetrlimit", "uname",
        "olduname", "oldolduname", "vfork", "wait4", "waitid", "waitpid", "getrandom",
        /* signals, time, locks */
        "alarm", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
        "clock_nanosleep_time64", "futex", "futex_time64", "futex_waitv", "getitimer", "gettimeofday", "nanosleep",
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
        "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "setitimer", "sigaction", "sigaltstack",
        "signal", "signalfd", "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "time",
        "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
        "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
        "timerfd_settime64",
        /* network and IPC; socket() is looked at below */
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
        "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt",
        "shutdown", "socketpair", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
        "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv",
        "msgsnd", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", 
        
        /* what the supervisor does while it makes a worker's view of the file system */
        "mount", "umount2", "unshare",
};

/* In workers and instances these are gone as well. */
static const char *const denied_to_functions[] = {
        "mount", "umount2", "unshare", "chroot", "migrate_pages", "mknod", "mknodat", "name_to_handle_at", "personality",
        "mq_open", "mq_unlink",
};

/* Files of functions may be of a group of the host's (mounts.h of hostd), and one with a set-id bit would lend it to who
 * runs it there. Where the mode is among the arguments; -1: there are no flags without which it counts for nothing. */
static const struct {
        const char *name;
        int mode, flags;
} modes[] = {
        { "chmod", 1, -1 }, { "fchmod", 1, -1 }, { "fchmodat", 2, -1 }, { "fchmodat2", 2, -1 }, { "creat", 1, -1 },
        { "mkdir", 1, -1 }, { "mkdirat", 2, -1 }, { "open", 2, 1 }, { "openat", 3, 2 },
};

/* Not a refusal but "this kernel has none". clone3(), by which the supervisor makes workers in their control groups, is
 * among them in functions: libc then takes the older call, whose flags can be seen. */
static const char *const unknown[] = { "io_uring_setup", "io_uring_enter", "io_uring_register" };
static const char *const unknown_to_functions[] = { "clone3" };

/* No AF_NETLINK: the machine's own network is set up before, and getaddrinfo() does without. */
static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };
static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

#define SOCKET_TYPE_MASK 0xfU /* the rest of the argument is flags */

static void check(int r, const char *what) {
        if (r < 0 && r != -EEXIST && r != -EDOM) {
                fprintf(stderr, "seccomp-compile: %s: %s\n", what, strerror(-r));
                exit(EXIT_FAILURE);
        }
}

static int has_mode(const char *name) {
        for (size_t i = 0; i < N(modes); i++)
                if (strcmp(modes[i].name, name) == 0)
                        return 1;
        return strcmp(name, "openat2") == 0;
}

static int is_denied(const char *name) {
        for (size_t i = 0; i < N(denied_to_functions); i++)
                if (strcmp(denied_to_functions[i], name) == 0)
                        return 1;
        return 0;
}

static void deny_unknown(scmp_filter_ctx ctx, const char *const *names, size_t n) {
        for (size_t i = 0; i < n; i++)
                check(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), seccomp_syscall_resolve_name(names[i]), 0), names[i]);
}

static scmp_filter_ctx filter_new(void) {
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));

        if (!ctx)
                check(-ENOMEM, "seccomp_init");
        check(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "bad architecture");
        check(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
#if defined(__x86_64__)
        check(seccomp_arch_add(ctx, SCMP_ARCH_X86), "i386");
        check(seccomp_arch_add(ctx, SCMP_ARCH_X32), "x32");
#elif defined(__aarch64__)
        check(seccomp_arch_add(ctx, SCMP_ARCH_ARM), "arm");
#endif
        deny_unknown(ctx, unknown, N(unknown));
        return ctx;
}

static void allow(scmp_filter_ctx ctx, const char *name) {
        int nr = seccomp_syscall_resolve_name(name);

        if (nr != __NR_SCMP_ERROR) /* else: newer than this libseccomp */
                check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0), name);
}

/* AF_VSOCK, AF_PACKET, AF_ALG and the like reach past the machine's namespaces, or far into the kernel; a raw socket
 * speaks for others. */
static void allow_sockets(scmp_filter_ctx ctx) {
        for (size_t i = 0; i < N(families); i++)
                for (size_t j = 0; j < N(types); j++)
                        check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i]),
                                               SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, (scmp_datum_t) types[j])),
                              "socket");
}

static void allow_clone(scmp_filter_ctx ctx) {
        static const unsigned namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                           CLONE_NEWPID | CLONE_NEWNET;
        check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0)), "clone");
}

static const unsigned set_id = S_ISUID | S_ISGID, creating = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);

static void allow_modes(scmp_filter_ctx ctx) {
        for (size_t i = 0; i < N(modes); i++) {
                int nr = seccomp_syscall_resolve_name(modes[i].name);

                if (nr == __NR_SCMP_ERROR)
                        continue;
                check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_CMP((unsigned) modes[i].mode, SCMP_CMP_MASKED_EQ, set_id, 0)),
                      modes[i].name);
                if (modes[i].flags >= 0)
                        check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
                                               SCMP_CMP((unsigned) modes[i].flags, SCMP_CMP_MASKED_EQ, creating, 0)), modes[i].name);
        }
        /* Its arguments are in memory, which a filter does not see. libc and others take openat() then. */
        check(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat2), 0), "openat2");
}

static void write_filter(FILE *out, scmp_filter_ctx ctx, const char *name) {
        FILE *tmp = tmpfile();
        uint64_t word;

        if (!tmp)
                check(-errno, "temporary file");
        check(seccomp_export_bpf(ctx, fileno(tmp)), "export");
        rewind(tmp);
        fprintf(out, "static const uint64_t %s[] = {\n", name);
        for (unsigned i = 1; fread(&word, sizeof(word), 1, tmp) == 1; i++)
                fprintf(out, "0x%016llxULL,%s", (unsigned long long) word, i % 4 == 0 ? "\n" : " ");
        fprintf(out, "\n};\n");
        fclose(tmp);
}

int main(int argc, char *argv[]) {
        FILE *out;

        if (argc != 2 || !(out = fopen(argv[1], "we"))) {
                fprintf(stderr, "usage: seccomp-compile HEADER\n");
                return EXIT_FAILURE;
        }
        fprintf(out, "/* Made by seccomp-compile: struct sock_filter programs as 64-bit words. */\n#pragma once\n");

        scmp_filter_ctx machine = filter_new();
        for (size_t i = 0; i < N(allowed); i++)
                allow(machine, allowed[i]);
        allow(machine, "clone3");
        allow_sockets(machine);
        write_filter(out, machine, "machine_filter");
        seccomp_release(machine);

        scmp_filter_ctx function = filter_new();
        for (size_t i = 0; i < N(allowed); i++)
                if (!is_denied(allowed[i]) && !has_mode(allowed[i]) && strcmp(allowed[i], "clone") != 0)
                        allow(function, allowed[i]);
        allow_modes(function);
        allow_clone(function);
        deny_unknown(function, unknown_to_functions, N(unknown_to_functions));
        allow_sockets(function);
        write_filter(out, function, "function_filter");
        seccomp_release(function);
        return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

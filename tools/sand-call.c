/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-call: how a program that is an exec function calls another function of its application. It asks
 * the instance that it runs in (bridge-protocol.h), and exits as sandctl does. */

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bridge-protocol.h"
#include "config.h"
#include "error.h"
#include "macro.h"
#include "manifest.h"
#include "protocol.h"

/* The instance answers at the timeout; this is for an instance that does not. */
#define GRACE_USEC USEC_PER_SEC

static uint32_t arg_send = BRIDGE_INVOKE;
static uint64_t arg_timeout_usec = USEC_INFINITY;
static const char *arg_content_type = "";
static const char *arg_target;
static const char *arg_file = "-";

static int help(void) {
        puts("sand-call [OPTIONS...] TARGET [FILE|-]\n"
             "sand-call --emit TOPIC [FILE|-]\n"
             "\n"
             "Call another function of the application, or APP/FUNCTION, from inside an exec function, and\n"
             "print its result. The payload is FILE, or standard input.\n"
             "\n"
             "  -h --help               Show this help\n"
             "     --version            Show the package's version\n"
             "  -s --send               Return once the event is kept, and do not wait for a result\n"
             "  -e --emit               The target is a topic: as --send, to all functions that want it\n"
             "  -t --timeout=SPAN       Give up after this time (\"1s\", \"5min 20s\"); never later than\n"
             "                          the deadline of the event at hand\n"
             "  -c --content-type=TYPE  What the payload is; JSON is assumed where nothing is said\n"
             "\n"
             "Exit status: 0 success; 1 the function failed; 2 usage, or a payload that was refused;\n"
             "3 no such function; 4 denied; 5 unavailable; 6 its queue is full; 7 timeout.");
        return 0;
}

_printf_(2, 3) static int complain(SandError e, const char *format, ...) {
        va_list ap;

        fputs("sand-call: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        return sand_error_info(e)->exit_status;
}

static int usage(void) {
        return sand_error_info(SAND_ERROR_USAGE)->exit_status;
}

/* -1: go on; else the exit status. */
static int parse_argv(int argc, char *argv[]) {
        static const struct option options[] = {
                { "help",         no_argument,       NULL, 'h' },
                { "version",      no_argument,       NULL, 'V' },
                { "send",         no_argument,       NULL, 's' },
                { "emit",         no_argument,       NULL, 'e' },
                { "timeout",      required_argument, NULL, 't' },
                { "content-type", required_argument, NULL, 'c' },
                {}
        };
        int c;

        while ((c = getopt_long(argc, argv, "hset:c:", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case 'V':
                        puts("sand " SAND_VERSION);
                        return 0;
                case 's':
                        arg_send = BRIDGE_SEND;
                        break;
                case 'e':
                        arg_send = BRIDGE_EMIT;
                        break;
                case 't':
                        if (parse_time_span(optarg, &arg_timeout_usec) < 0 || arg_timeout_usec == 0)
                                return complain(SAND_ERROR_USAGE, "--timeout is \"%s\", expected a time span such "
                                                "as \"1s\" or \"5min 20s\".", optarg);
                        break;
                case 'c':
                        arg_content_type = optarg;
                        break;
                default:
                        return usage();
                }

        if (argc - optind < 1 || argc - optind > 2)
                return complain(SAND_ERROR_USAGE, "Expected TARGET and at most one FILE; see sand-call --help.");
        arg_target = argv[optind];
        if (argc - optind == 2)
                arg_file = argv[optind + 1];
        return -1;
}

/* The payload as a sealed memfd, which is all that the instance has to pass on. */
static int read_payload(int *ret) {
        _cleanup_(closep) int file = -EBADF, memfd = -EBADF;
        static char buffer[64 * 1024];
        uint64_t size = 0;

        memfd = memfd_create("sand-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        file = streq(arg_file, "-") ? dup(STDIN_FILENO) : open(arg_file, O_RDONLY | O_CLOEXEC);
        if (memfd < 0 || file < 0)
                return -errno;
        for (;;) {
                ssize_t n = read(file, buffer, sizeof(buffer));

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (uint64_t) n;
                if (size > SAND_PAYLOAD_HARD_MAX)
                        return -EMSGSIZE;
                for (ssize_t done = 0, k; done < n; done += k) {
                        k = write(memfd, buffer + done, (size_t) (n - done));
                        if (k < 0)
                                return -errno;
                }
        }
        if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        *ret = TAKE_FD(memfd);
        return 0;
}

static int connect_bus(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = -EBADF;

        if (strlen(name) + 1 > sizeof(address.sun_path))
                return -EINVAL;
        memcpy(address.sun_path + 1, name, strlen(name));
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address,
                    (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_request(int bus, const BridgeRequest *request, int memfd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) request, sizeof(*request) };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };

        control.header = (struct cmsghdr) {
                .cmsg_len = CMSG_LEN(sizeof(int)),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control.header), &memfd, sizeof(int));
        return sendmsg(bus, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int wait_answer(int bus) {
        struct pollfd p = { .fd = bus, .events = POLLIN };
        uint64_t until = usec_add(usec_add(now_usec(), arg_timeout_usec), GRACE_USEC);
        int n;

        do {
                uint64_t left = until == USEC_INFINITY ? USEC_INFINITY : usec_sub(until, now_usec());
                struct timespec ts = {
                        .tv_sec = (time_t) (left / USEC_PER_SEC),
                        .tv_nsec = (long) (left % USEC_PER_SEC) * 1000,
                };

                n = ppoll(&p, 1, left == USEC_INFINITY ? NULL : &ts, NULL);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int receive_answer(int bus, BridgeAnswer *answer, int *ret_memfd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { answer, sizeof(*answer) };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        ssize_t n;
        int r;

        r = wait_answer(bus);
        if (r < 0)
                return r;
        n = recvmsg(bus, &mh, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -EPIPE;
        c = CMSG_FIRSTHDR(&mh);
        if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(ret_memfd, CMSG_DATA(c), sizeof(int));
        if (n != (ssize_t) sizeof(*answer) || answer->version != BRIDGE_VERSION)
                return -EBADMSG;
        answer->kind[sizeof(answer->kind) - 1] = answer->error[sizeof(answer->error) - 1] =
                answer->message[sizeof(answer->message) - 1] = answer->cause[sizeof(answer->cause) - 1] = 0;
        return 0;
}

static int print_result(int memfd) {
        struct stat st;
        char *data;

        if (memfd < 0)
                return 0;
        if (fstat(memfd, &st) < 0)
                return -errno;
        if (st.st_size == 0)
                return 0;
        data = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
        if (data == MAP_FAILED)
                return -errno;
        for (off_t done = 0; done < st.st_size;) {
                ssize_t n = write(STDOUT_FILENO, data + done, (size_t) (st.st_size - done));

                if (n < 0)
                        return -errno;
                done += n;
        }
        return 0;
}

static int report_failure(const BridgeAnswer *answer) {
        SandError e = sand_error_from_name(answer->kind);

        if (e < 0)
                e = SAND_ERROR_FUNCTION_FAILED;
        if (streq(answer->error, answer->kind))
                (void) complain(e, "%s: %s: %s", arg_target, answer->kind, answer->message);
        else
                (void) complain(e, "%s: %s: %s: %s", arg_target, answer->kind, answer->error, answer->message);
        if (*answer->cause)
                fprintf(stderr, "%s\n", answer->cause);
        return sand_error_info(e)->exit_status;
}

static int call(int bus, int memfd) {
        BridgeRequest request = {
                .version = BRIDGE_VERSION,
                .send = arg_send,
                .timeout_usec = arg_timeout_usec,
        };
        _cleanup_(closep) int result = -EBADF;
        static BridgeAnswer answer;
        int r;

        if (snprintf(request.target, sizeof(request.target), "%s", arg_target) >= (int) sizeof(request.target) ||
            snprintf(request.content_type, sizeof(request.content_type), "%s", arg_content_type) >=
            (int) sizeof(request.content_type))
                return complain(SAND_ERROR_USAGE, "The target's name or the content type is too long.");
        r = send_request(bus, &request, memfd);
        if (r >= 0)
                r = receive_answer(bus, &answer, &result);
        if (r == -ETIMEDOUT)
                return complain(SAND_ERROR_TIMEOUT, "%s did not answer in time.", arg_target);
        if (r < 0)
                return complain(SAND_ERROR_UNAVAILABLE, "The connection to the function's instance failed: %s",
                                strerror(-r));
        if (*answer.kind)
                return report_failure(&answer);
        r = arg_send != BRIDGE_INVOKE ? 0 : print_result(result);
        if (r < 0)
                return complain(SAND_ERROR_FUNCTION_FAILED, "Failed to write the result: %s", strerror(-r));
        return 0;
}

int main(int argc, char *argv[]) {
        _cleanup_(closep) int bus = -EBADF, memfd = -EBADF;
        const char *name = getenv(SAND_ENV_BUS);
        int r;

        r = parse_argv(argc, argv);
        if (r >= 0)
                return r;
        if (isempty(name))
                return complain(SAND_ERROR_USAGE, "$" SAND_ENV_BUS " is not set: sand-call works inside an exec "
                                "function of SAND. From outside, use sandctl invoke.");
        bus = connect_bus(name);
        if (bus < 0)
                return complain(SAND_ERROR_UNAVAILABLE, "Failed to reach the function's instance: %s", strerror(-bus));
        r = read_payload(&memfd);
        if (r == -EMSGSIZE)
                return complain(SAND_ERROR_TOO_LARGE, "%s is larger than a payload may be.", arg_file);
        if (r < 0)
                return complain(SAND_ERROR_USAGE, "Failed to read %s: %s",
                                streq(arg_file, "-") ? "standard input" : arg_file, strerror(-r));
        return call(bus, memfd);
}

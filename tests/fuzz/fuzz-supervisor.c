/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the supervisor does with whatever arrives from callers, from root on the host, from its workers and from
 * their instances. A real supervisor in developer's mode serves real sockets; the input is a script for the other
 * ends. Each step is a byte that says who speaks and what is said, and a byte of flags: a well-formed body or the
 * input's own bytes, the message's own signature or another one, a descriptor along with it.
 *
 * Of the supervisor only sandbox.c is replaced, and the loop's end: a worker's process hands its channel back to the script
 * and sleeps. Instances are sleeping processes, too. */

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../../daemons/supervisord/function.h"
#include "../../daemons/supervisord/sandbox.h"
#include "log.h"
#include "payload.h"
#include "protocol.h"

#define INPUT_MAX 16384U
#define STEPS_MAX 64U
#define PEERS_MAX 64U
#define CHILDREN_MAX 256U
#define FDS_MAX 128U

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum Role { APP, CONTROL, WORKER, INSTANCE, _ROLE_MAX } Role;
enum { CALL = 1, REPLY, ERROR, SIGNAL };

/* The other end of one of the supervisor's connections. */
typedef struct Peer {
        Role role;
        int fd, log_fd;
        pid_t pid;
        uint8_t buffer[4096]; /* what was received and is no whole message yet */
        size_t n_buffer, skip;
        bool authenticated;
        bool stranger;        /* says itself who it is */
        bool deaf;            /* leaves what it is sent in the socket */
        uint32_t asked;       /* serial of the last call that was received ... */
        unsigned n_asked;     /* ... and how many instances it wants */
        uint32_t serial;      /* of the last call sent */
        uint8_t answers[STEPS_MAX + 1]; /* to each of them */
} Peer;

typedef struct Script {
        const uint8_t *data;
        size_t size;
        Supervisor *supervisor;
        Peer *peers[PEERS_MAX];
        unsigned n_peers;
        pid_t children[CHILDREN_MAX];
        unsigned n_children;
        bool fds_sent;
} Script;

/* A message, or its body, in the making. */
typedef struct Bytes {
        uint8_t data[INPUT_MAX + 4096];
        size_t size;
} Bytes;

static char bundle[] = "/tmp/sand-fuzz-XXXXXX";
static int listen_fds[2] = { -EBADF, -EBADF }, home[2] = { -EBADF, -EBADF },
           journal[2] = { -EBADF, -EBADF }, memfds[2] = { -EBADF, -EBADF };
static struct sockaddr_un addresses[2];
static int first_fd; /* from here on they are the input's */
static pid_t owner;
static bool ended;
static unsigned n_forks; /* whose process has not said hello yet */

static const char manifest[] = "{ \"name\": \"fuzz\", \"idle\": \"infinity\", \"functions\": {"
                               "\"f\": { \"runtime\": \"exec\", \"handler\": \"sand.json\" },"
                               "\"many\": { \"runtime\": \"exec\", \"handler\": \"sand.json\", \"payload_max\": \"1K\","
                               "            \"queue\": { \"max\": 2 }, \"instances\": { \"max\": 2, \"events\": 0 } } } }";

/* The symbolizer would be another child, with descriptors of its own. ASAN_OPTIONS=symbolize=1 to read a trace. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
        return "symbolize=0";
}

/* In the supervisor's place of libsystemd's: the loop must go on until what the script made is reaped. */
int sd_event_exit(sd_event *e, int code) {
        ended = true;
        return 0;
}

/* sd-bus (252) drops a message that is no D-Bus together with the array of its descriptors, and forgets them
 * all: LeakSanitizer would find that again and again. Its arrays are made by this. */
void *reallocarray(void *p, size_t n, size_t size) {
        if (size > 0 && n > SIZE_MAX / size)
                return NULL;
        p = realloc(p, n * size);
        __lsan_ignore_object(p);
        return p;
}

/* sandbox.h, for processes that need no sandbox. */

int sandbox_init(Sandbox *s, bool machine) {
        *s = (Sandbox) {};
        for (Runtime i = 0; i < _RUNTIME_MAX; i++)
                s->worker_fds[i] = open("/dev/null", O_PATH | O_CLOEXEC);
        return 0;
}

void sandbox_done(Sandbox *s) {
        for (Runtime i = 0; i < _RUNTIME_MAX; i++)
                s->worker_fds[i] = safe_close(s->worker_fds[i]);
}

int sandbox_confine_supervisor(void) {
        return 0;
}

int sandbox_load_uids(Sandbox *s, const char *versions_dir) {
        return 0;
}

int sandbox_uid(const Sandbox *s, const char *name, uid_t *ret) {
        return -ESRCH;
}

/* Descriptors go along with one byte at least. */
static void send_with_fds(int socket, const uint8_t *data, size_t size, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(4 * sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) data, size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

        assert(n_fds <= 4);
        if (n_fds > 0) {
                mh.msg_control = &control;
                mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header = (struct cmsghdr) { CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        (void) sendmsg(socket, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t receive_with_fds(int socket, void *data, size_t size, int *fds, unsigned *n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control;
        struct iovec iov = { data, size };
        struct msghdr mh = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(socket, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        *n_fds = 0;
        for (struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&mh) : NULL; c; c = CMSG_NXTHDR(&mh, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        *n_fds = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
                }
        return n;
}

int sandbox_exec_worker(const Sandbox *s, const FunctionSpec *spec, const char *dir, const char *credentials,
                        char *const *environment, int channel_fd, int log_fd) {
        const int fds[] = { channel_fd, log_fd };
        pid_t self = getpid();

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != owner)
                _exit(0);
        send_with_fds(home[1], (const uint8_t *) &self, sizeof(self), fds, 2);
        /* Ends with its parent alone: its copies of the sockets must not keep the script's open. */
        (void) syscall(SYS_close_range, 3U, ~0U, 0U);
        for (;;)
                (void) pause();
}

/* Runs beside the script in its memory, and does nothing there. */
__attribute__((no_sanitize("address", "undefined", "coverage"))) static int sleep_until_killed(void *userdata) {
        (void) syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;)
                (void) syscall(SYS_pause);
}

static pid_t script_child(Script *s) {
        static char stacks[CHILDREN_MAX][4096] __attribute__((aligned(16)));
        pid_t pid;

        if (s->n_children >= CHILDREN_MAX)
                return -EAGAIN;
        pid = clone(sleep_until_killed, stacks[s->n_children] + sizeof(stacks[0]), CLONE_VM | SIGCHLD, NULL);
        assert(pid > 0);
        s->children[s->n_children++] = pid;
        return pid;
}

/* Peers. */

static const char auth[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

static Peer *peer_new(Script *s, Role role, int fd, int log_fd, pid_t pid, bool stranger) {
        Peer *p;

        if (s->n_peers >= PEERS_MAX) {
                (void) safe_close(fd);
                (void) safe_close(log_fd);
                return NULL;
        }
        p = calloc(1, sizeof(Peer));
        assert(p);
        p->role = role;
        p->fd = fd;
        p->log_fd = log_fd;
        p->pid = pid;
        p->stranger = stranger;
        s->peers[s->n_peers++] = p;
        if (!stranger)
                send_with_fds(fd, (const uint8_t *) auth, sizeof(auth) - 1, NULL, 0);
        return p;
}

static Peer *peer_connect(Script *s, Role role, bool stranger) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert(fd >= 0);
        if (connect(fd, (struct sockaddr *) &addresses[role], sizeof(addresses[role])) < 0) {
                (void) safe_close(fd);
                return NULL;
        }
        return peer_new(s, role, fd, -EBADF, 0, stranger);
}

/* The `which`th newest of a role; callers connect when they are first needed. */
static Peer *peer_find(Script *s, Role role, unsigned which) {
        Peer *found = NULL;
        unsigned n = 0;

        for (unsigned i = s->n_peers; i-- > 0;)
                if (s->peers[i]->role == role && s->peers[i]->fd >= 0 && n++ <= which)
                        found = s->peers[i];
        if (role <= CONTROL && n <= which && n < 4)
                found = peer_connect(s, role, false);
        return found;
}

static void peer_close(Peer *p) {
        p->fd = safe_close(p->fd);
        p->log_fd = safe_close(p->log_fd);
}

static uint32_t word(const uint8_t *p) {
        uint32_t u;

        memcpy(&u, p, sizeof(u));
        return le32toh(u);
}

/* The serial that a reply's header names; 0: none. The supervisor's fields are of the types s, o, g and u. */
static uint32_t reply_serial(const uint8_t *message, size_t fields) {
        const uint8_t *p = message + 16, *end = p + fields;

        while (p + 8 <= end) {
                if (p[0] == 5)
                        return word(p + 4);
                if (p[2] == 'g')
                        p += 4 + 1 + p[4] + 1;
                else if (p[2] == 'u')
                        p += 8;
                else
                        p += 4 + 4 + word(p + 4) + 1;
                p = message + (((size_t) (p - message) + 7) & ~(size_t) 7);
        }
        return 0;
}

static void take_message(Peer *p, const uint8_t *m, size_t fields) {
        uint32_t serial;

        assert(m[0] == 'l' && m[3] == 1);
        if (m[1] == CALL)
                p->asked = word(m + 8);
        if (m[1] != REPLY && m[1] != ERROR)
                return;
        /* No call is answered twice, nor is one that was not made. */
        serial = reply_serial(m, fields);
        assert(serial > 0 && serial <= p->serial);
        assert(p->answers[serial]++ == 0);
}

/* Messages out of what was received; of a large one its head is enough. */
static void take_messages(Peer *p) {
        static const char last[] = "AGREE_UNIX_FD\r\n";

        if (!p->authenticated) {
                uint8_t *end = memmem(p->buffer, p->n_buffer, last, strlen(last));
                if (!end)
                        return;
                p->authenticated = true;
                p->skip = (size_t) (end - p->buffer) + strlen(last);
        }
        for (;;) {
                size_t n = MIN(p->skip, p->n_buffer), fields;

                memmove(p->buffer, p->buffer + n, p->n_buffer - n);
                p->n_buffer -= n;
                p->skip -= n;
                if (p->skip > 0 || p->n_buffer < 16)
                        return;
                fields = (word(p->buffer + 12) + 7) & ~7U;
                assert(16 + fields <= sizeof(p->buffer));
                if (p->n_buffer < 16 + fields)
                        return;
                take_message(p, p->buffer, fields);
                p->skip = 16 + fields + word(p->buffer + 4);
        }
}

/* A few messages that are left there fill the socket. */
static void narrow_instances(Script *s) {
        const int least = 1;

        for (Function *f = s->supervisor->functions; f; f = f->next)
                for (Instance *i = f->worker ? f->worker->starting.first : NULL; i; i = i->next)
                        (void) setsockopt(i->wire.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

static void peer_receive(Script *s, Peer *p) {
        int fds[FDS_MAX];
        unsigned n_fds;
        ssize_t n;

        while (p->fd >= 0 && !p->deaf) {
                n = receive_with_fds(p->fd, p->buffer + p->n_buffer, sizeof(p->buffer) - p->n_buffer, fds, &n_fds);
                if (p->role == WORKER && n_fds > 0) {
                        p->n_asked = n_fds / 2;
                        for (unsigned i = 0; i + 1 < n_fds; i += 2)
                                (void) peer_new(s, INSTANCE, fds[i], fds[i + 1], 0, false);
                        narrow_instances(s);
                } else
                        for (unsigned i = 0; i < n_fds; i++)
                                (void) safe_close(fds[i]);
                if (n <= 0)
                        return;
                if (p->stranger)
                        continue; /* its serials are its own */
                p->n_buffer += (size_t) n;
                take_messages(p);
        }
}

static void on_fork(void) {
        n_forks++;
}

typedef struct Hello {
        pid_t pid;
        int fds[2];
} Hello;

static int hello_compare(const void *a, const void *b) {
        return ((const Hello *) a)->pid - ((const Hello *) b)->pid;
}

/* The workers' processes that were forked take a moment to say hello; their order is that of the forks. */
static void receive_workers(Script *s) {
        Hello hellos[PEERS_MAX];
        int fds[FDS_MAX];
        unsigned n_fds, n = 0;

        for (; n_forks > 0 && n < ELEMENTSOF(hellos); n_forks--, n++) {
                struct pollfd p = { .fd = home[0], .events = POLLIN };
                if (poll(&p, 1, 10000) != 1 ||
                    receive_with_fds(home[0], &hellos[n].pid, sizeof(pid_t), fds, &n_fds) != sizeof(pid_t) || n_fds != 2)
                        abort();
                memcpy(hellos[n].fds, fds, sizeof(hellos[n].fds));
        }
        qsort(hellos, n, sizeof(Hello), hello_compare);
        for (unsigned i = 0; i < n; i++)
                (void) peer_new(s, WORKER, hellos[i].fds[0], hellos[i].fds[1], hellos[i].pid, false);
}

/* Lets the supervisor do all that there is to do now, and takes what it says. */
static void settle(Script *s) {
        char line[1];

        for (unsigned i = 0; i < 200; i++) {
                int r = sd_event_run(s->supervisor->event, 0);
                assert(r >= 0);
                if (r == 0)
                        break;
        }
        receive_workers(s);
        while (recv(journal[1], line, sizeof(line), MSG_DONTWAIT) >= 0)
                ;
        for (unsigned i = 0; i < s->n_peers; i++)
                peer_receive(s, s->peers[i]);
}


/* Messages. */

static void put(Bytes *b, const void *data, size_t size) {
        size = MIN(size, sizeof(b->data) - b->size);
        memcpy(b->data + b->size, data, size);
        b->size += size;
}

static void put_align(Bytes *b, size_t alignment) {
        static const uint8_t zeros[8];
        put(b, zeros, -b->size & (alignment - 1));
}

static void put_u32(Bytes *b, uint32_t u) {
        put_align(b, 4);
        u = htole32(u);
        put(b, &u, sizeof(u));
}

static void put_u64(Bytes *b, uint64_t u) {
        put_align(b, 8);
        u = htole64(u);
        put(b, &u, sizeof(u));
}

static void put_string(Bytes *b, const char *text) {
        put_u32(b, (uint32_t) strlen(text));
        put(b, text, strlen(text) + 1);
}

static void put_signature(Bytes *b, const char *text) {
        uint8_t n = (uint8_t) strlen(text);
        put(b, &n, 1);
        put(b, text, (size_t) n + 1);
}

static void put_field(Bytes *b, uint8_t code, const char *type, const char *value) {
        if (!value)
                return;
        put_align(b, 8);
        put(b, &code, 1);
        put_signature(b, type);
        if (*type == 'g')
                put_signature(b, value);
        else
                put_string(b, value);
}

static void put_number_field(Bytes *b, uint8_t code, uint32_t value) {
        if (value == 0)
                return;
        put_align(b, 8);
        put(b, &code, 1);
        put_signature(b, "u");
        put_u32(b, value);
}

/* The script's own bytes: as many as the next one says. */
static size_t script_take(Script *s, const uint8_t **ret) {
        size_t n;

        *ret = s->data;
        if (s->size == 0)
                return 0;
        n = s->data[0];
        if (n == 255) /* all the rest */
                n = s->size - 1;
        n = MIN(n, s->size - 1);
        *ret = s->data + 1;
        s->data += 1 + n;
        s->size -= 1 + n;
        return n;
}

/* Text of the script, in a buffer. */
static const char *script_text(Script *s, char text[static 256]) {
        const uint8_t *data;
        size_t n = MIN(script_take(s, &data), (size_t) 255);

        memcpy(text, data, n);
        text[n] = 0;
        return text;
}

static void put_usage(Bytes *b) {
        put_align(b, 8);
        put_u64(b, 1);
        put_u64(b, 2);
        put_u64(b, 3);
}

/* The variant at a body's end: the script's bytes, or the descriptor that goes along. */
static void put_payload(Script *s, Bytes *b, bool memfd) {
        const uint8_t *data;
        size_t n;

        put_signature(b, memfd ? "h" : "ay");
        if (memfd) {
                put_u32(b, 0);
                return;
        }
        n = script_take(s, &data);
        put_u32(b, (uint32_t) n);
        put(b, data, n);
}

static void body_invoke(Script *s, Peer *p, Bytes *b, bool memfd) {
        char text[256];

        put_string(b, script_text(s, text));
        put_string(b, "");
        put_u64(b, 0);
        put_string(b, "application/json");
        put_u32(b, 0);
        put_align(b, 8);
        put_payload(s, b, memfd);
}

static void body_text(Script *s, Peer *p, Bytes *b, bool memfd) {
        char text[256];
        put_string(b, script_text(s, text));
}

static void body_load_failed(Script *s, Peer *p, Bytes *b, bool memfd) {
        put_string(b, "no module named x");
        put_string(b, "ImportError");
        body_text(s, p, b, memfd);
}

static void body_pids(Script *s, Peer *p, Bytes *b, bool memfd) {
        put_u32(b, 4 * p->n_asked);
        for (unsigned i = 0; i < p->n_asked; i++)
                put_u32(b, (uint32_t) script_child(s));
}

static void body_result(Script *s, Peer *p, Bytes *b, bool memfd) {
        put_string(b, "text/plain");
        put_usage(b);
        put_payload(s, b, memfd);
}

static void body_error(Script *s, Peer *p, Bytes *b, bool memfd) {
        char text[256];

        put_string(b, "it failed");
        put_string(b, "ValueError");
        put_string(b, script_text(s, text));
        put_usage(b);
}

typedef struct Message {
        uint8_t type;
        const char *path, *interface, *member, *signature;
        void (*body)(Script *s, Peer *p, Bytes *b, bool memfd);
} Message;

#define KINDS 6U
#define APP_PATH SAND_APP_PATH, SAND_APP_INTERFACE
#define CONTROL_CALL CALL, SAND_CONTROL_PATH, SAND_CONTROL_INTERFACE
#define WORKER_PATH SAND_WORKER_PATH, SAND_WORKER_INTERFACE
#define INSTANCE_PATH SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE

static const Message messages[_ROLE_MAX][KINDS] = {
        [APP] = {
                { CALL, APP_PATH, "Invoke", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
                { CALL, APP_PATH, "Describe" },
                { CALL, APP_PATH, "Send", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
                { CALL, SAND_APP_PATH, "org.freedesktop.DBus.Introspectable", "Introspect" },
                { REPLY, NULL, NULL, NULL, "s", body_text },
                { SIGNAL, APP_PATH, "GoAway" },
        },
        [CONTROL] = {
                { CONTROL_CALL, "Prepare", "s", body_text },
                { CONTROL_CALL, "Reload" },
                { CONTROL_CALL, "State" },
                { CONTROL_CALL, "Drain" },
                { CALL, "/", "org.freedesktop.DBus.Peer", "GetMachineId" },
                { CALL, APP_PATH, "Invoke", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
        },
        [WORKER] = {
                { SIGNAL, WORKER_PATH, "Loaded" },
                { SIGNAL, WORKER_PATH, "LoadFailed", "sss", body_load_failed },
                { REPLY, NULL, NULL, NULL, "ai", body_pids },
                { ERROR, NULL, NULL, "org.sand.Error.Unavailable", SAND_ERROR_FULL_SIGNATURE, body_error },
                { CALL, APP_PATH, "Invoke", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
                { SIGNAL, INSTANCE_PATH, "Ready" },
        },
        [INSTANCE] = {
                { SIGNAL, INSTANCE_PATH, "Ready" },
                { REPLY, NULL, NULL, NULL, SAND_REPLY_FULL_SIGNATURE, body_result },
                { ERROR, NULL, NULL, "org.sand.Error.FunctionFailed", SAND_ERROR_FULL_SIGNATURE, body_error },
                { ERROR, NULL, NULL, "org.sand.Error.OutOfMemory", SAND_ERROR_FULL_SIGNATURE, body_error },
                { CALL, APP_PATH, "Invoke", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
                { CALL, APP_PATH, "Send", SAND_INVOKE_FULL_SIGNATURE, body_invoke },
        },
};

enum {
        OWN_BODY = 1 << 0,      /* the script's bytes instead of a well-formed one ... */
        OWN_SIGNATURE = 1 << 1, /* ... and what it says they are */
        WITH_FD = 1 << 2,
        SEALED = 1 << 3,
        NO_REPLY = 1 << 4,
        MORE = 1 << 5,          /* sent, but not served before the next step */
        DEAF = 1 << 1,          /* of what is no message: instead of a hang-up, ... */
        STRANGER = 1 << 2,      /* ... or a caller more, with an authentication of its own */
        WITH_MEMFD = 1 << 3,    /* and a descriptor */
};

static void say(Script *s, Peer *p, const Message *m, uint8_t flags) {
        static Bytes message, body;
        const char *signature = m->signature;
        const uint8_t *data;
        char text[256];
        uint8_t head[4] = { 'l', m->type, flags & NO_REPLY ? 1 : 0, 1 };
        uint32_t size;
        size_t n;

        message.size = body.size = 0;
        if (flags & OWN_SIGNATURE)
                signature = script_text(s, text);
        if (flags & OWN_BODY) {
                n = script_take(s, &data);
                put(&body, data, n);
        } else if (m->body)
                m->body(s, p, &body, flags & WITH_FD);
        p->serial++;

        put(&message, head, sizeof(head));
        put_u32(&message, (uint32_t) body.size);
        put_u32(&message, p->serial);
        put_u32(&message, 0);
        put_field(&message, 1, "o", m->path);
        put_field(&message, 2, "s", m->interface);
        put_field(&message, m->type == ERROR ? 4 : 3, "s", m->member);
        put_number_field(&message, 5, m->type == REPLY || m->type == ERROR ? p->asked : 0);
        put_field(&message, 8, "g", isempty(signature) ? NULL : signature);
        put_number_field(&message, 9, flags & WITH_FD ? 1 : 0);
        size = htole32((uint32_t) (message.size - 16));
        memcpy(message.data + 12, &size, sizeof(size));
        put_align(&message, 8);
        put(&message, body.data, body.size);
        s->fds_sent |= flags & WITH_FD && p->role != INSTANCE;
        send_with_fds(p->fd, message.data, message.size, &memfds[flags & SEALED ? 1 : 0], flags & WITH_FD ? 1 : 0);
}

/* What is no message. */
static void do_else(Script *s, Peer *p, unsigned what, uint8_t flags) {
        const uint8_t *data;
        size_t n;

        if (what == 0) {
                n = script_take(s, &data);
                if (p->log_fd >= 0 && n > 0) {
                        ssize_t ignored _unused_ = write(p->log_fd, data, n);
                } else
                        send_with_fds(p->fd, data, n, NULL, 0);
        } else if (what == 1 && p->role >= WORKER) {
                pid_t pid = p->role == WORKER ? p->pid : s->n_children > 0 ? s->children[s->n_children - 1] : 0;
                if (pid > 0)
                        (void) kill(pid, SIGKILL);
        } else if (flags & DEAF)
                p->deaf = !p->deaf;
        else if (flags & STRANGER && p->role == APP) {
                p = peer_connect(s, APP, true);
                n = script_take(s, &data);
                if (p)
                        send_with_fds(p->fd, data, n, &memfds[1], flags & WITH_MEMFD ? 1 : 0);
        } else
                peer_close(p);
}

static void step(Script *s) {
        uint8_t what = s->data[0], flags = s->data[1];
        Role role = what & 3;
        unsigned kind = (what >> 2) & 7;
        Peer *p = peer_find(s, role, what >> 5);

        s->data += 2;
        s->size -= 2;
        if (!p)
                return;
        /* sd-bus wakes nobody for what of the first message it has read with the authentication: wire.c. */
        if (!p->authenticated && !p->stranger)
                settle(s);
        if (kind >= KINDS)
                do_else(s, p, kind - KINDS + (flags & 1), flags);
        else
                say(s, p, &messages[role][kind], flags);
        if (!(flags & MORE))
                settle(s);
}

/* Everybody leaves: nothing may be left of what the supervisor made for them. */
static void script_end(Script *s) {
        uint64_t start = now_usec();
        siginfo_t si;

        for (unsigned i = 0; i < s->n_peers; i++)
                peer_close(s->peers[i]);
        for (;;) {
                settle(s);
                for (unsigned j = 0; j < s->n_peers; j++) {
                        if (s->peers[j]->role == WORKER && s->peers[j]->pid > 0)
                                (void) kill(s->peers[j]->pid, SIGKILL);
                        s->peers[j]->pid = 0;
                        peer_close(s->peers[j]);
                }
                for (unsigned j = 0; j < s->n_children; j++)
                        (void) kill(s->children[j], SIGKILL);
                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
                        break;
                assert(now_usec() - start < 10 * USEC_PER_SEC);
                (void) usleep(50);
        }
        supervisor_free(s->supervisor);
        for (unsigned i = 0; i < s->n_peers; i++) {
                peer_close(s->peers[i]);
                free(s->peers[i]);
        }
        for (unsigned i = 0; i < ELEMENTSOF(listen_fds); i++)
                for (int fd; (fd = accept4(listen_fds[i], NULL, NULL, SOCK_CLOEXEC)) >= 0;)
                        (void) safe_close(fd);
        /* Nor may descriptors be left, but for those that sd-bus forgot; instances have none. */
        for (int fd = first_fd; fd < first_fd + 64 && !s->fds_sent; fd++)
                assert(fcntl(fd, F_GETFD) < 0);
        (void) syscall(SYS_close_range, (unsigned) first_fd, ~0U, 0U);
}

static void remove_bundle(void) {
        char path[64];

        if (getpid() != owner)
                return;
        (void) snprintf(path, sizeof(path), "%s/sand.json", bundle);
        (void) unlink(path);
        for (unsigned i = 0; i < ELEMENTSOF(addresses); i++)
                (void) unlink(addresses[i].sun_path);
        (void) rmdir(bundle);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        static const char *const names[] = { "app.sock", "app.control" };
        char path[64];
        sigset_t mask;
        int fd;

        owner = getpid();
        (void) setenv("SAND_PLACEMENT", "free", 1); /* this process stays where it is */
        (void) pthread_atfork(NULL, on_fork, NULL);
        /* Also in libFuzzer's threads, which inherit this: they would take the signal and ignore it. */
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
        log_set_max_level(getenv("SAND_LOG_LEVEL") ? LOG_INFO : -1);
        if (!mkdtemp(bundle))
                abort();
        (void) atexit(remove_bundle);
        (void) snprintf(path, sizeof(path), "%s/sand.json", bundle);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        if (fd < 0 || write(fd, manifest, strlen(manifest)) != (ssize_t) strlen(manifest))
                abort();
        (void) close(fd);
        for (unsigned i = 0; i < ELEMENTSOF(listen_fds); i++) {
                addresses[i].sun_family = AF_UNIX;
                (void) snprintf(addresses[i].sun_path, sizeof(addresses[i].sun_path), "%s/%s", bundle, names[i]);
                listen_fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (listen_fds[i] < 0 || bind(listen_fds[i], (struct sockaddr *) &addresses[i], sizeof(addresses[i])) < 0 ||
                    listen(listen_fds[i], 64) < 0)
                        abort();
        }
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, home) < 0)
                abort();
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, journal) < 0)
                abort();
        memfds[0] = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        memfds[1] = memfd_new_sealed("sealed", "payload", 7);
        if (memfds[0] < 0 || memfds[1] < 0)
                abort();
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Script s = { .data = data, .size = size };
        int fds[2];

        if (size > INPUT_MAX)
                return 0;
        ended = false;
        first_fd = fcntl(memfds[1], F_DUPFD_CLOEXEC, 3);
        (void) safe_close(first_fd);
        for (unsigned i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = fcntl(listen_fds[i], F_DUPFD_CLOEXEC, 3);
        if (supervisor_new("fuzz", bundle, &s.supervisor) < 0)
                abort();
        s.supervisor->journal.fd = fcntl(journal[0], F_DUPFD_CLOEXEC, 3);
        if (supervisor_start(s.supervisor, fds, 2) < 0)
                abort();
        for (unsigned i = 0; i < STEPS_MAX && s.size >= 2 && !ended; i++)
                step(&s);
        script_end(&s);
        return 0;
}

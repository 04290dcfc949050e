/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl run: the developer's loop. It starts supervisor and gateway, restarts the supervisor when events
 * come for it (what PID 1 does on a host), and asks it to load the bundle anew when that has changed. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "bundle.h"
#include "log.h"
#include "protocol.h"
#include "sandctl-bus.h"
#include "sandctl-dev.h"
#include "sandctl-text.h"
#include "sandctl-watch.h"

#define RELOAD_TIMEOUT_USEC (10 * USEC_PER_MINUTE)
#define FIRST_PORT 8080
#define PORTS 100
/* A supervisor that ends sooner than this did not start: restarting it would only repeat its message. */
#define START_USEC (2 * USEC_PER_SEC)

typedef struct Run {
        sd_event *event;
        Dev *dev;
        Manifest *manifest;       /* of what is loaded ... */
        Manifest *loading;        /* ... and of what is being loaded; NULL: the first time, of the same */
        Watch *watch;
        sd_event_source *supervisor, *gateway, *activation;
        sd_bus *control;          /* while a reload is under way */
        bool changed_meanwhile;
        uint64_t started_usec;    /* of the supervisor */
        uint64_t reload_usec;     /* when it began ... */
        char *changed;            /* ... and because of which file */
        char hash[BUNDLE_HASH_LENGTH + 1]; /* of what was checked last */
        char url[80];
} Run;

static void run_done(Run *run) {
        watch_free(run->watch);
        (void) sd_event_source_disable_unref(run->supervisor);
        (void) sd_event_source_disable_unref(run->gateway);
        (void) sd_event_source_disable_unref(run->activation);
        (void) sd_bus_close_unref(run->control);
        dev_free(run->dev);
        manifest_free(run->manifest);
        manifest_free(run->loading);
        free(run->changed);
        (void) sd_event_unref(run->event);
}

static int bind_address(const ListenAddress *a, int *ret_fd) {
        union {
                struct sockaddr sa;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } address = {};
        _cleanup_(closep) int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t size = a->family == AF_INET ? sizeof(address.v4) : sizeof(address.v6);
        int one = 1;

        if (fd < 0)
                return -errno;
        if (a->family == AF_INET) {
                address.v4 = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons(a->port) };
                (void) inet_pton(AF_INET, a->host, &address.v4.sin_addr);
        } else {
                address.v6 = (struct sockaddr_in6) { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };
                (void) inet_pton(AF_INET6, a->host, &address.v6.sin6_addr);
        }
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
            bind(fd, &address.sa, size) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Port 0 became a real one. */
static int bound_port(int fd, uint16_t *ret) {
        union {
                struct sockaddr sa;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } address = {};
        socklen_t size = sizeof(address);

        if (getsockname(fd, &address.sa, &size) < 0)
                return -errno;
        *ret = ntohs(address.sa.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
        return 0;
}

static int listen_http(ListenAddress *a, int *ret_fd) {
        int r;

        if (arg_listen) {
                r = listen_address_parse(arg_listen, a);
                if (r == -EACCES)
                        return fail(SAND_ERROR_USAGE, "--listen=%s: only loopback addresses are served.",
                                    arg_listen);
                if (r < 0)
                        return fail(SAND_ERROR_USAGE, "--listen=%s: expected ADDRESS:PORT, such as "
                                                      "127.0.0.1:8080.", arg_listen);
                r = bind_address(a, ret_fd);
        } else
                for (unsigned i = 0; i < PORTS; i++) {
                        *a = (ListenAddress) { .family = AF_INET, .host = "127.0.0.1",
                                               .port = (uint16_t) (FIRST_PORT + i) };
                        r = bind_address(a, ret_fd);
                        if (r != -EADDRINUSE)
                                break;
                }
        if (r >= 0)
                r = bound_port(*ret_fd, &a->port);
        if (r < 0)
                return fail(SAND_ERROR_UNAVAILABLE, "Failed to listen on %s, port %u: %s", a->host, a->port,
                            strerror(-r));
        return 0;
}

static void print_urls(const Run *run) {
        size_t width = 0;

        for (size_t i = 0; i < run->manifest->n_functions; i++)
                width = MAX(width, strlen(run->manifest->functions[i].name));
        for (size_t i = 0; i < run->manifest->n_functions; i++) {
                const FunctionSpec *f = run->manifest->functions + i;

                (void) printf("  %-*s  %-7s  curl -d '{}' %s/invoke/%s/%s\n", (int) width, f->name,
                              runtime_to_string(f->runtime), run->url, run->dev->name, f->name);
        }
        for (size_t i = 0; i < run->manifest->n_triggers; i++) {
                const HttpTrigger *t = run->manifest->triggers + i;

                (void) printf("  %-*s  %-7s  %s/web/%s%s\n", (int) width, t->target, web_method_to_string(t->route.method),
                              run->url, run->dev->name, strchr(t->route.key, '/'));
        }
        (void) fflush(stdout);
}

/* Loading: at the start, so that errors show at once, and again with each change. */

static void reload(Run *run);

static bool same_functions(const Manifest *a, const Manifest *b) {
        bool same = a->n_functions == b->n_functions;

        for (size_t i = 0; same && i < a->n_functions; i++)
                same = manifest_find(b, a->functions[i].name);
        return same;
}

/* What the gateway knows is what is served: not before it is loaded, and not what failed to. */
static int adopt(Run *run) {
        bool same = same_functions(run->manifest, run->loading);
        int r = dev_publish(run->dev, run->loading);

        if (r < 0)
                return r;
        manifest_free(run->manifest);
        run->manifest = TAKE_PTR(run->loading);
        if (!same)
                print_urls(run);
        return 0;
}

static void report_loaded(Run *run) {
        char span[32];
        int r;

        if (!run->loading)
                return;
        format_span(span, sizeof(span), now_usec() - run->reload_usec);
        say("%s: reloaded in %s%s%s", run->dev->name, span, isempty(run->changed) ? "" : ", changed: ",
            strempty(run->changed));
        r = adopt(run);
        if (r < 0)
                (void) fail_errno(r, "%s: failed to tell the gateway: %s", run->dev->name, strerror(-r));
}

static void report_failed(Run *run, sd_bus_message *m) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *text = strempty(e->message), *class = NULL, *cause = NULL;

        /* Errors of ours say more than D-Bus has room for. */
        if (sd_bus_message_has_signature(m, SAND_ERROR_FULL_SIGNATURE))
                (void) sd_bus_message_read(m, "sss", &text, &class, &cause);
        (void) fail(SAND_ERROR_LOAD_FAILED, "%s", text);
        if (!isempty(cause))
                (void) fprintf(stderr, "%s%s", cause, cause[strlen(cause) - 1] == '\n' ? "" : "\n");
        say("%s: not %s", run->dev->name, run->loading ? "reloaded, the code loaded before goes on"
                                                       : "loaded; the next change is tried");
}

static int on_reloaded(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Run *run = userdata;

        if (sd_bus_message_get_error(m))
                report_failed(run, m);
        else
                report_loaded(run);
        run->loading = manifest_free(run->loading);
        run->control = sd_bus_close_unref(run->control);
        if (run->changed_meanwhile) {
                run->changed_meanwhile = false;
                reload(run);
        }
        return 0;
}

static int reload_call(Run *run) {
        int r = peer_bus_open(run->dev->control_socket, &run->control);

        run->reload_usec = now_usec();
        if (r >= 0)
                r = sd_bus_attach_event(run->control, run->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

                r = sd_bus_message_new_method_call(run->control, &m, NULL, SAND_CONTROL_PATH,
                                                   SAND_CONTROL_INTERFACE, "Reload");
                if (r >= 0)
                        r = sd_bus_call_async(run->control, NULL, m, on_reloaded, run, RELOAD_TIMEOUT_USEC);
        }
        if (r < 0)
                run->control = sd_bus_close_unref(run->control);
        return r;
}

/* 0: there is something new to load, described by run->loading. */
static int check_again(Run *run) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        char hash[BUNDLE_HASH_LENGTH + 1];

        if (bundle_hash(run->dev->dir_fd, hash) >= 0) {
                if (streq(hash, run->hash))
                        return -EALREADY;
                strcpy(run->hash, hash);
        }
        if (bundle_check(run->dev->dir, run->dev->dir_fd, &m) != 0)
                return -EBADMSG;
        if (!streq(m->name, run->dev->name)) {
                (void) fail(SAND_ERROR_INVALID_BUNDLE, "The name is \"%s\" now; start \"sandctl run\" again.",
                            m->name);
                return -EBADMSG;
        }
        manifest_free(run->loading);
        run->loading = TAKE_PTR(m);
        return 0;
}

static void reload(Run *run) {
        int r;

        if (run->control) {
                run->changed_meanwhile = true;
                return;
        }
        r = check_again(run);
        if (r < 0) {
                if (r == -EBADMSG)
                        say("%s: not reloaded, the code loaded before goes on", run->dev->name);
                return;
        }
        if (run->dev->supervisor > 0)
                r = reload_call(run);
        else {
                r = adopt(run);
                say("%s: changed; the next event loads it", run->dev->name);
        }
        if (r < 0)
                (void) fail_errno(r, "%s: failed to reload: %s", run->dev->name, strerror(-r));
}

static void on_change(const char *path, void *userdata) {
        Run *run = userdata;

        (void) free_and_strdup(&run->changed, path);
        reload(run);
}

/* The children. */

static int start_supervisor(Run *run);

static int on_activation(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Run *run = userdata;
        int r;

        run->activation = sd_event_source_disable_unref(run->activation);
        r = start_supervisor(run);
        return r == 0 ? 0 : sd_event_exit(run->event, r);
}

static void describe_end(const siginfo_t *si, char *buf, size_t size) {
        if (si->si_code == CLD_EXITED)
                (void) snprintf(buf, size, "exited with status %d", si->si_status);
        else
                (void) snprintf(buf, size, "was killed by signal %d (%s)", si->si_status,
                                sigabbrev_np(si->si_status) ?: "?");
}

/* Whatever its end was, the next event starts another. */
static int on_supervisor(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Run *run = userdata;
        bool orderly = si->si_code == CLD_EXITED && si->si_status == 0;
        char how[64];

        run->dev->supervisor = 0;
        run->supervisor = sd_event_source_disable_unref(run->supervisor);
        describe_end(si, how, sizeof(how));
        if (!orderly && now_usec() - run->started_usec < START_USEC)
                return sd_event_exit(run->event, fail(SAND_ERROR_CRASHED, "sand-supervisord %s.", how));
        if (!orderly)
                (void) fail(SAND_ERROR_CRASHED, "sand-supervisord %s; the next event starts it again.", how);
        return sd_event_add_io(run->event, &run->activation, run->dev->app_fd, EPOLLIN, on_activation, run);
}

static int on_gateway(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Run *run = userdata;
        char how[64];

        run->dev->gateway = 0;
        describe_end(si, how, sizeof(how));
        return sd_event_exit(run->event, fail(SAND_ERROR_UNAVAILABLE, "sand-gatewayd %s.", how));
}

static int start_supervisor(Run *run) {
        int r = dev_start_supervisor(run->dev, -1, "notice");

        if (r != 0)
                return r;
        run->started_usec = now_usec();
        r = sd_event_add_child(run->event, &run->supervisor, run->dev->supervisor, WEXITED, on_supervisor, run);
        return r < 0 ? fail_errno(r, "Failed to watch sand-supervisord: %s", strerror(-r)) : 0;
}

static int start_gateway(Run *run, int listen_fd) {
        int r = dev_start_gateway(run->dev, listen_fd);

        if (r != 0)
                return r;
        r = sd_event_add_child(run->event, &run->gateway, run->dev->gateway, WEXITED, on_gateway, run);
        return r < 0 ? fail_errno(r, "Failed to watch sand-gatewayd: %s", strerror(-r)) : 0;
}

static int run_watch(Run *run) {
        int r;

        if (bundle_hash(run->dev->dir_fd, run->hash) < 0)
                run->hash[0] = '\0';
        r = watch_new(run->event, run->dev->dir, on_change, run, &run->watch);
        if (r < 0)
                (void) fail_errno(r, "Changes are not noticed: %s", strerror(-r));
        return 0;
}

static int run_setup(Run *run) {
        sigset_t signals;
        int r;

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGCHLD);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        r = sd_event_default(&run->event);
        if (r >= 0)
                r = sd_event_add_signal(run->event, NULL, SIGINT, NULL, (void *) EXIT_SUCCESS);
        if (r >= 0)
                r = sd_event_add_signal(run->event, NULL, SIGTERM, NULL, (void *) EXIT_SUCCESS);
        if (r >= 0)
                r = sd_event_add_signal(run->event, NULL, SIGHUP, NULL, (void *) EXIT_SUCCESS);
        return r;
}

int verb_run(int argc, char **argv) {
        _cleanup_(run_done) Run run = {};
        _cleanup_(closep) int fd = -EBADF;
        ListenAddress a = {};
        int r;

        if (arg_host)
                return fail(SAND_ERROR_USAGE, "A bundle is run where it is; leave --host out.");
        r = listen_http(&a, &fd);
        if (r != 0)
                return r;
        r = run_setup(&run);
        if (r < 0)
                return fail_errno(r, "Failed to set up the event loop: %s", strerror(-r));
        r = dev_new(argc > 0 ? argv[0] : ".", &run.dev, &run.manifest);
        if (r == 0)
                r = run_watch(&run);
        if (r == 0)
                r = start_supervisor(&run);
        if (r == 0)
                r = start_gateway(&run, fd);
        if (r != 0)
                return r;
        fd = safe_close(fd);

        (void) snprintf(run.url, sizeof(run.url), a.family == AF_INET ? "http://%s:%u" : "http://[%s]:%u",
                        a.host, a.port);
        say("%s: %zu function%s on %s; changes are loaded as they come, Ctrl-C ends.", run.dev->name,
            run.manifest->n_functions, run.manifest->n_functions == 1 ? "" : "s", run.url);
        print_urls(&run);
        r = reload_call(&run);
        if (r < 0)
                return fail_errno(r, "Failed to reach sand-supervisord: %s", strerror(-r));
        r = sd_event_loop(run.event);
        return r < 0 ? fail_errno(r, "The event loop failed: %s", strerror(-r)) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit-files.h"

#include <assert.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "config.h"
#include "network-plan.h"
#include "protocol.h"
#include "uids.h"

/* The kernel's and nspawn's default bounding set has more than a supervisor needs to make namespaces, change
 * identities, and limit, place and kill its children. */
#define DROPPED_CAPABILITIES \
        "CAP_AUDIT_CONTROL CAP_AUDIT_WRITE CAP_IPC_OWNER CAP_LEASE CAP_LINUX_IMMUTABLE CAP_MKNOD " \
        "CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_RAW CAP_SYS_BOOT CAP_SYS_TTY_CONFIG"

/* How long sand-app@.service waits for a stop when no function is slow, in its units. */
#define STOP_MARGIN_USEC (30 * USEC_PER_SEC)
#define STOP_MAX_USEC (15 * USEC_PER_MINUTE)

static const char *const etc_patterns[] = {
        "/etc/alternatives",
        "/etc/fonts",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/python3*",
        "/etc/ssl/certs",
};

static _printf_(1, 2) char *format(const char *f, ...) {
        char *s = NULL;
        va_list ap;

        va_start(ap, f);
        if (vasprintf(&s, f, ap) < 0)
                s = NULL;
        va_end(ap);
        return s;
}

char *unit_socket_name(const char *name) {
        return format("sand-app@%s.socket", name);
}

char *unit_service_name(const char *name) {
        return format("sand-app@%s.service", name);
}

char *unit_alias_name(const char *name) {
        return format("systemd-nspawn@%s.service", name);
}

char *unit_trigger_name(const char *name, bool is_path, size_t index) {
        return format("sand-trigger-%s-%zu.%s", name, index, is_path ? "path" : "timer");
}

char *unit_nspawn_path(const char *name) {
        return format(NSPAWN_DIR "/%s.nspawn", name);
}

char *unit_dropin_dir(const char *name) {
        return format(UNIT_DIR "/sand-app@%s.service.d", name);
}

char *unit_dropin_path(const char *name) {
        return format(UNIT_DIR "/sand-app@%s.service.d/50-sand.conf", name);
}

char *unit_alias_path(const char *name) {
        return format(UNIT_DIR "/systemd-nspawn@%s.service", name);
}

static void globfreep(glob_t *g) {
        globfree(g);
}

int unit_files_etc(char ***ret) {
        _cleanup_(strv_freep) char **l = NULL;

        for (size_t i = 0; i < ELEMENTSOF(etc_patterns); i++) {
                _cleanup_(globfreep) glob_t g = {};
                int r = glob(etc_patterns[i], 0, NULL, &g);

                if (r == GLOB_NOSPACE)
                        return -ENOMEM;
                for (size_t j = 0; r == 0 && j < g.gl_pathc; j++) {
                        /* A name that would end its line in the .nspawn file is no name of ours. */
                        if (strpbrk(g.gl_pathv[j], ":\\\" \t\n"))
                                continue;
                        int k = strv_extend(&l, g.gl_pathv[j]);
                        if (k < 0)
                                return k;
                }
        }
        if (!l) {
                l = calloc(1, sizeof(char *));
                if (!l)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(l);
        return 0;
}

static void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

/* Ends a text that open_memstream() collects. */
static int finish(FILE **f, char **text, char **ret) {
        bool failed = ferror(*f);

        failed = fclose(TAKE_PTR(*f)) != 0 || failed;
        if (failed)
                return -ENOMEM;
        *ret = TAKE_PTR(*text);
        return 0;
}

int unit_files_nspawn(const char *name, const Manifest *m, uint32_t uid_base, char *const *etc, char **ret) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t size;

        assert(app_name_is_valid(name));
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        fprintf(f,
                UNIT_FILES_MARK "\n"
                "[Exec]\n"
                "Boot=no\n"
                "ProcessTwo=no\n"
                "Parameters=" LIBEXECDIR "/sand-supervisord --app %1$s\n"
                "PrivateUsers=%2$u:%3$u\n"
                /* Without this nspawn tells systemd READY before the supervisor does. */
                "NotifyReady=yes\n"
                "Environment=NOTIFY_SOCKET=" SAND_MACHINE_NOTIFY_SOCKET "\n"
                "Environment=WATCHDOG_USEC=30000000\n"
                "KillSignal=SIGTERM\n"
                "DropCapability=" DROPPED_CAPABILITIES "\n"
                "LimitNOFILE=524288\n"
                "LinkJournal=no\n"
                "ResolvConf=off\n"
                "Timezone=off\n"
                "\n"
                "[Network]\n"
                "Private=yes\n"
                "%4$s"
                "\n"
                "[Files]\n"
                "ReadOnly=yes\n"
                "PrivateUsersOwnership=off\n"
                "BindReadOnly=/usr\n"
                "BindReadOnly=" SAND_APPS_DIR "/%1$s:" SAND_MACHINE_VERSIONS_DIR "\n"
                "BindReadOnly=/run/systemd/journal:/run/sand/journal\n"
                "BindReadOnly=" SAND_EVENTS_SOCKET_DIR "\n"
                "Bind=/run/systemd/notify:" SAND_MACHINE_NOTIFY_SOCKET "\n"
                "Bind=" SAND_APP_STATE_DIR "/%1$s:/state\n",
                name, uid_base, UID_RANGE_SIZE, m->network == NETWORK_NAT ? "Bridge=" NETWORK_BRIDGE "\n" : "");
        if (m->network == NETWORK_NAT)
                fputs("BindReadOnly=" SAND_NETWORK_DIR ":" SAND_MACHINE_NETWORK_DIR "\n", f);
        for (char *const *e = etc; e && *e; e++)
                fprintf(f, "BindReadOnly=%s\n", *e);
        for (size_t i = 0; i < m->n_mounts; i++)
                fprintf(f, "# %s\nBind%s=" SAND_MOUNTS_DIR "/%zu:%s\n", m->mounts[i].host, m->mounts[i].write ? "" : "ReadOnly", i,
                        m->mounts[i].at);
        return finish(&f, &text, ret);
}

/* systemd kills what is left when the longest event could have ended. */
static uint64_t stop_usec(const Manifest *m) {
        uint64_t longest = 0;

        for (size_t i = 0; i < m->n_functions; i++)
                longest = MAX(longest, m->functions[i].timeout_usec);
        return MIN(usec_add(longest, STOP_MARGIN_USEC), STOP_MAX_USEC);
}

/* systemd decrypts them for nspawn, which hands them to PID 1 of the machine. Their names need no quoting. */
static void print_credentials(FILE *f, const char *name, char *const *credentials) {
        if (strv_length(credentials) == 0)
                return;
        fputs("Environment=\"SAND_CREDENTIALS=", f);
        for (char *const *c = credentials; *c; c++)
                fprintf(f, "%s--load-credential=%s:%s", c > credentials ? " " : "", *c, *c);
        fputs("\"\n", f);
        for (char *const *c = credentials; *c; c++)
                fprintf(f, "LoadCredentialEncrypted=%s:" SAND_SECRETS_DIR "/%s/%s\n", *c, name, *c);
}

/* Paths of mounts need no quoting. */
static void print_dependencies(FILE *f, const Manifest *m) {
        if (m->network == NETWORK_NONE && m->n_mounts == 0)
                return;
        fputs("[Unit]\n", f);
        /* Not Requires=: the network may be restarted without its machines. */
        if (m->network == NETWORK_NAT)
                fputs("Wants=sand-network.service\nAfter=sand-network.service\n", f);
        for (size_t i = 0; i < m->n_mounts; i++)
                fprintf(f, "RequiresMountsFor=%s\n", m->mounts[i].host);
}

/* What makes the mounts becomes nspawn. */
static void print_mounts(FILE *f, const Manifest *m, uint32_t uid_base) {
        if (m->n_mounts == 0)
                return;
        fprintf(f, "ExecStart=\nExecStart=" LIBEXECDIR "/sand-hostd --group=%u", uid_base + SAND_APP_GID);
        for (size_t i = 0; i < m->n_mounts; i++)
                fprintf(f, " --mount=%s%s", m->mounts[i].host, m->mounts[i].write ? ":rw" : "");
        fputs(" -- " NSPAWN_COMMAND "\n", f);
}

int unit_files_dropin(const char *name, const Manifest *m, uint32_t uid_base, char **ret) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t size;

        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        fputs(UNIT_FILES_MARK "\n", f);
        print_dependencies(f, m);
        fprintf(f, "[Service]\nTimeoutStopSec=%" PRIu64 "us\n", stop_usec(m));
        for (char **line = m->resources; line && *line; line++) {
                /* The manifest's reader has a list of what may be here; a second line is never in it. */
                if (strchr(*line, '\n'))
                        return -EINVAL;
                fprintf(f, "%s\n", *line);
        }
        print_credentials(f, name, m->credentials);
        print_mounts(f, m, uid_base);
        return finish(&f, &text, ret);
}

/* ---- triggers ---- */

#define TRIGGER_UNIT                                                                                                 \
        UNIT_FILES_MARK "\n"                                                                                         \
        "[Unit]\n"                                                                                                   \
        "Description=%1$s of SAND Application %2$s for Function %3$s\n"                                              \
        "Documentation=man:sand-invoke@.service(8)\n"                                                                \
        "PartOf=sand.target\n"

#define TRIGGER_INSTALL                                                                                              \
        "\n[Install]\n"                                                                                              \
        "WantedBy=sand.target\n"

/* A calendar expression has no character that means something in a unit. */
int unit_files_timer(const char *name, const TimerTrigger *t, char **ret) {
        *ret = format(TRIGGER_UNIT
                      "\n"
                      "[Timer]\n"
                      "OnCalendar=%4$s\n"
                      "Persistent=%5$s\n"
                      "RandomizedDelaySec=%6$" PRIu64 "us\n"
                      "AccuracySec=1s\n"
                      "Unit=sand-invoke@%2$s:%3$s:timer-%7$zu.service\n"
                      TRIGGER_INSTALL,
                      "Timer", name, t->target, t->calendar, t->persistent ? "yes" : "no", t->jitter_usec, t->index);
        return *ret ? 0 : -ENOMEM;
}

/* What is there when the watch begins is looked at then. */
int unit_files_path(const char *name, const PathTrigger *t, char **ret) {
        *ret = format(TRIGGER_UNIT
                      "Wants=sand-invoke@%2$s:%3$s:path-%5$zu.service\n"
                      "\n"
                      "[Path]\n"
                      "PathChanged=%4$s\n"
                      "Unit=sand-watch@%2$s:%3$s:path-%5$zu.service\n"
                      TRIGGER_INSTALL,
                      "Watch", name, t->target, t->host, t->index);
        return *ret ? 0 : -ENOMEM;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The orders that come from the host: load a version beside the running one, switch to it, drain, tell. A
 * version is switched to only when all of its workers have loaded; until then, and if one fails, the running
 * one serves on untouched. */

#include <assert.h>
#include <stdio.h>

#include "bus.h"
#include "function.h"
#include "log.h"
#include "payload.h"
#include "protocol.h"
#include "text.h"
#include "worker.h"

/* A version that is being loaded, or is loaded and waits for Reload. */
struct Prepare {
        Supervisor *supervisor;
        Connection *owner;       /* whose end drops it; NULL: a Reload loads for itself */
        sd_bus_message *request; /* Prepare or Reload to be answered; NULL: answered */
        bool adopt;              /* Reload: switch once it is loaded */
        Version *version;
        Worker **workers; /* one a function, in the manifest's order */
        size_t n_loaded;
};

static int reply_failure(sd_bus_message *call, const Failure *failure) {
        const SandErrorInfo *info = sand_error_info(failure->kind);
        const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(info->dbus_name, strempty(failure->message));
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_error(call, &reply, &error);
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss(ttt)", failure->error ?: info->name, strempty(failure->cause),
                                          UINT64_C(0), UINT64_C(0), UINT64_C(0));
        if (r >= 0)
                r = sd_bus_message_send(reply);
        sd_bus_message_unref(reply);
        return r;
}

static Prepare *prepare_free(Prepare *p) {
        if (!p)
                return NULL;
        if (p->supervisor->prepare == p)
                p->supervisor->prepare = NULL;
        for (size_t i = 0; p->workers && i < p->version->manifest->n_functions; i++)
                if (p->workers[i]) {
                        p->workers[i]->userdata = NULL;
                        worker_retire(p->workers[i]);
                }
        free(p->workers);
        version_unref(p->version);
        sd_bus_message_unref(p->request);
        free(p);
        return NULL;
}

static void prepare_fail(Prepare *p, const Failure *failure) {
        if (p->request)
                (void) reply_failure(p->request, failure);
        prepare_free(p);
}

static int prepare_finish(Prepare *p) {
        Supervisor *s = p->supervisor;
        const char *id = p->version->id;
        int r;

        if (p->adopt) {
                r = supervisor_switch(s, p->version, p->workers);
                if (r < 0) {
                        prepare_fail(p, &(Failure) { .kind = SAND_ERROR_UNAVAILABLE,
                                                     .message = "the supervisor cannot switch versions" });
                        return r;
                }
                free(p->workers); /* the functions' now */
                p->workers = NULL;
                (void) sd_bus_reply_method_return(p->request, "s", id);
                prepare_free(p);
                return 0;
        }
        (void) sd_bus_reply_method_return(p->request, NULL);
        p->request = sd_bus_message_unref(p->request);
        return 0;
}

/* The bundle, as the function's code sees it. */
static const char *bundle_seen(const Prepare *p) {
        return p->supervisor->sandbox.machine ? "/app" : p->version->path;
}

static void on_worker(Worker *w, const Failure *failure, void *userdata) {
        Prepare *p = userdata;
        char text[1024], place[256];
        Failure named;

        if (!p)
                return; /* dropped before it was loaded */
        if (!failure) {
                if (++p->n_loaded == p->version->manifest->n_functions)
                        (void) prepare_finish(p);
                return;
        }
        named = *failure;
        if (failure->cause && traceback_place(failure->cause, bundle_seen(p), place, sizeof(place)))
                (void) snprintf(text, sizeof(text), "%s: %s: %s; the function \"%s\" does not load", place,
                                strempty(failure->error), failure->message, w->spec->name);
        else
                (void) snprintf(text, sizeof(text), "%s: %s%s%s", w->spec->name, strempty(failure->error),
                                isempty(failure->error) ? "" : ": ", failure->message);
        named.kind = SAND_ERROR_LOAD_FAILED;
        named.message = text;
        prepare_fail(p, &named);
}

static int prepare_new(Supervisor *s, Connection *owner, sd_bus_message *request, const char *id, bool adopt) {
        char *problems = NULL;
        size_t n = 0;
        Prepare *p;
        int r;

        prepare_free(s->prepare);
        p = calloc(1, sizeof(Prepare));
        if (!p)
                return -ENOMEM;
        p->supervisor = s;
        p->owner = owner;
        p->request = sd_bus_message_ref(request);
        p->adopt = adopt;
        s->prepare = p;

        r = version_load(s, id, &p->version, &problems);
        if (r < 0) {
                prepare_fail(p, &(Failure) { .kind = r == -ENOENT ? SAND_ERROR_NOT_FOUND : SAND_ERROR_INVALID_BUNDLE,
                                             .message = problems ?: "the version cannot be read" });
                free(problems);
                return 1;
        }
        p->workers = calloc(p->version->manifest->n_functions, sizeof(Worker *));
        for (; p->workers && r >= 0 && n < p->version->manifest->n_functions; n += r >= 0)
                r = worker_new(s, p->version, p->version->manifest->functions + n, on_worker, p, &p->workers[n]);
        if (!p->workers || r < 0) {
                Failure failure = { .kind = SAND_ERROR_UNAVAILABLE, .message = "out of memory" };
                if (r < 0)
                        failure = worker_start_failure(p->version->manifest->functions + n, r);
                prepare_fail(p, &failure);
        }
        return 1;
}

static int method_prepare(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        supervisor_note_activity(c->supervisor);
        return prepare_new(c->supervisor, c, m, id, false);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        Supervisor *s = c->supervisor;
        Prepare *p = s->prepare;
        char *id = NULL;
        int r;

        supervisor_note_activity(s);
        r = supervisor_current_id(s, &id);
        if (r < 0)
                return reply_failure(m, &(Failure) { .kind = SAND_ERROR_NOT_FOUND,
                                                     .message = "no version is deployed" });
        if (p && !p->request && streq(p->version->id, id)) {
                p->adopt = true;
                p->request = sd_bus_message_ref(m);
                r = prepare_finish(p);
                r = r < 0 ? r : 1;
        } else if (s->version && !s->run_dir && streq(s->version->id, id))
                r = sd_bus_reply_method_return(m, "s", id);
        else
                r = prepare_new(s, c, m, id, true);
        free(id);
        return r;
}

static int method_drain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        int r;

        r = sd_bus_reply_method_return(m, NULL);
        supervisor_stop(c->supervisor);
        return r;
}

static int method_set_credential(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        const char *name;
        size_t size;
        int fd, r;

        r = sd_bus_message_read(m, "sh", &name, &fd);
        if (r < 0)
                return r;
        supervisor_note_activity(c->supervisor);
        r = memfd_check_sealed(fd, &size);
        if (r >= 0)
                r = c->supervisor->sandbox.machine ? credentials_set(&c->supervisor->credentials, name, fd) : -EOPNOTSUPP;
        if (r < 0) {
                log_error_errno(r, "Failed to take a secret: %m");
                return reply_failure(m, &(Failure) { .kind = sand_error_from_errno(r),
                                                     .message = "the supervisor cannot take the secret" });
        }
        return sd_bus_reply_method_return(m, NULL);
}

static int method_state(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        json_object *o = supervisor_state(c->supervisor);
        int r;

        r = sd_bus_reply_method_return(m, "s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return r;
}

static const sd_bus_vtable control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Prepare", SD_BUS_ARGS("s", version), SD_BUS_NO_RESULT, method_prepare,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", version), method_reload,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetCredential", SD_BUS_ARGS("s", name, "h", value), SD_BUS_NO_RESULT,
                                method_set_credential, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Drain", "", "", method_drain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("State", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_state,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int control_serve(Connection *c) {
        return sd_bus_add_object_vtable(c->bus, NULL, SAND_CONTROL_PATH, SAND_CONTROL_INTERFACE, control_vtable, c);
}

void control_connection_gone(Connection *c) {
        Prepare *p = c->supervisor->prepare;

        if (p && p->owner == c)
                prepare_free(p);
}

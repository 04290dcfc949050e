/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include <assert.h>

#include "error.h"

#define SERVICE "org.freedesktop.systemd1"
#define PATH "/org/freedesktop/systemd1"
#define INTERFACE "org.freedesktop.systemd1.Manager"

/* The Manager answers these at once, except Reload, which reads all units anew. */
#define CALL_TIMEOUT_USEC (90 * USEC_PER_SEC)

struct ManagerRequest {
        Manager *manager;
        ManagerRequest *next, **link;
        sd_bus_slot *slot;
        char *unit, *job; /* job: the object path that is waited for */
        manager_handler_t handler;
        void *userdata;
        bool ignore_not_loaded;
};

struct Manager {
        sd_bus *bus;
        sd_bus_slot *job_removed, *subscribe;
        ManagerRequest *requests;
};

ManagerRequest *manager_request_free(ManagerRequest *q) {
        if (!q)
                return NULL;
        if (q->link) {
                *q->link = q->next;
                if (q->next)
                        q->next->link = q->link;
        }
        sd_bus_slot_unref(q->slot);
        free(q->unit);
        free(q->job);
        free(q);
        return NULL;
}

DEFINE_POINTER_CLEANUP(ManagerRequest *, manager_request_free);

/* The handler may free the manager or make new requests; the request is gone by then. */
static void finish(ManagerRequest *q, int r, const sd_bus_error *error, sd_bus_message *reply) {
        manager_handler_t handler = q->handler;
        void *userdata = q->userdata;

        manager_request_free(q);
        handler(r, error, reply, userdata);
}

static int job_result_to_errno(const char *result, const char *unit, sd_bus_error *error) {
        if (streq(result, "done") || streq(result, "skipped"))
                return 0;
        return sd_bus_error_setf(error, sand_error_info(SAND_ERROR_UNAVAILABLE)->dbus_name,
                                 "systemd could not start or stop %1$s (%2$s); see `journalctl -u %1$s`.",
                                 unit, result);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Manager *manager = userdata;
        const char *job, *result;
        int r;

        r = sd_bus_message_read(m, "uoss", NULL, &job, NULL, &result);
        if (r < 0)
                return 0;
        for (ManagerRequest *q = manager->requests; q; q = q->next)
                if (q->job && streq(q->job, job)) {
                        r = job_result_to_errno(result, q->unit, &error);
                        finish(q, r, &error, NULL);
                        break;
                }
        return 0;
}

static bool means_not_loaded(const sd_bus_error *e) {
        return sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit") ||
                sd_bus_error_has_name(e, "org.freedesktop.systemd1.NotLoaded");
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        ManagerRequest *q = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e && q->ignore_not_loaded && means_not_loaded(e))
                finish(q, 0, NULL, NULL);
        else
                finish(q, e ? -sd_bus_error_get_errno(e) : 0, e, m);
        return 0;
}

static int on_job(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        ManagerRequest *q = userdata;
        const char *job;

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "o", &job) < 0)
                return on_reply(m, userdata, unused);
        /* JobRemoved comes after this reply, in the same stream. */
        q->job = strdup(job);
        if (!q->job)
                finish(q, -ENOMEM, NULL, NULL);
        return 0;
}

static int request_new(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                       ManagerRequest **ret) {
        _cleanup_(manager_request_freep) ManagerRequest *q = calloc(1, sizeof(ManagerRequest));

        assert(handler);
        if (!q)
                return -ENOMEM;
        *q = (ManagerRequest) { .manager = m, .handler = handler, .userdata = userdata };
        q->unit = strdup(strempty(unit));
        if (!q->unit)
                return -ENOMEM;
        q->next = m->requests;
        if (q->next)
                q->next->link = &q->next;
        q->link = &m->requests;
        m->requests = q;
        *ret = TAKE_PTR(q);
        return 0;
}

/* Sends a call of which `call` holds all arguments. */
static int request_send(Manager *m, sd_bus_message *call, const char *unit, sd_bus_message_handler_t on_answer,
                        bool ignore_not_loaded, manager_handler_t handler, void *userdata,
                        ManagerRequest **ret) {
        _cleanup_(manager_request_freep) ManagerRequest *q = NULL;
        int r;

        r = request_new(m, unit, handler, userdata, &q);
        if (r < 0)
                return r;
        q->ignore_not_loaded = ignore_not_loaded;
        r = sd_bus_call_async(m->bus, &q->slot, call, on_answer, q, CALL_TIMEOUT_USEC);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(q);
        return 0;
}

static void message_unrefp(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}

static int new_call(Manager *m, const char *method, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(m->bus, ret, SERVICE, PATH, INTERFACE, method);
}

int manager_reload(Manager *m, manager_handler_t handler, void *userdata, ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, "Reload", &call);

        if (r < 0)
                return r;
        return request_send(m, call, NULL, on_reply, false, handler, userdata, ret);
}

static int change_unit(Manager *m, const char *method, const char *unit, manager_handler_t handler,
                       void *userdata, ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, method, &call);

        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "ss", unit, "replace");
        if (r < 0)
                return r;
        return request_send(m, call, unit, on_job, streq(method, "StopUnit"), handler, userdata, ret);
}

int manager_start(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                  ManagerRequest **ret) {
        return change_unit(m, "StartUnit", unit, handler, userdata, ret);
}

int manager_reload_or_start(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                            ManagerRequest **ret) {
        return change_unit(m, "ReloadOrRestartUnit", unit, handler, userdata, ret);
}

int manager_stop(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                 ManagerRequest **ret) {
        return change_unit(m, "StopUnit", unit, handler, userdata, ret);
}

int manager_enable(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                   ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, "EnableUnitFiles", &call);

        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "asbb", 1, unit, false, false);
        if (r < 0)
                return r;
        return request_send(m, call, unit, on_reply, false, handler, userdata, ret);
}

int manager_disable(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                    ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, "DisableUnitFiles", &call);

        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "asb", 1, unit, false);
        if (r < 0)
                return r;
        return request_send(m, call, unit, on_reply, true, handler, userdata, ret);
}

int manager_reset_failed(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                         ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, "ResetFailedUnit", &call);

        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "s", unit);
        if (r < 0)
                return r;
        return request_send(m, call, unit, on_reply, true, handler, userdata, ret);
}

int manager_list_units(Manager *m, char *const *units, manager_handler_t handler, void *userdata,
                       ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r = new_call(m, "ListUnitsByNames", &call);

        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(call, (char **) units);
        if (r < 0)
                return r;
        return request_send(m, call, NULL, on_reply, false, handler, userdata, ret);
}

static int new_property_call(Manager *m, const char *unit, const char *method, sd_bus_message **ret) {
        _cleanup_(freep) char *path = NULL;
        int r = sd_bus_path_encode(PATH "/unit", unit, &path);

        return r < 0 ? r : sd_bus_message_new_method_call(m->bus, ret, SERVICE, path, "org.freedesktop.DBus.Properties", method);
}

int manager_get_status_text(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                            ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r;

        r = new_property_call(m, unit, "Get", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "ss", "org.freedesktop.systemd1.Service", "StatusText");
        return r < 0 ? r : request_send(m, call, unit, on_reply, false, handler, userdata, ret);
}

int manager_get_properties(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                           ManagerRequest **ret) {
        _cleanup_(message_unrefp) sd_bus_message *call = NULL;
        int r;

        r = new_property_call(m, unit, "GetAll", &call);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "s", "");
        if (r < 0)
                return r;
        return request_send(m, call, unit, on_reply, false, handler, userdata, ret);
}

/* The Manager sends signals only while somebody has subscribed; that this one had already is no error. */
static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        return 0;
}

int manager_new(sd_bus *bus, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(Manager));
        int r;

        if (!m)
                return -ENOMEM;
        m->bus = sd_bus_ref(bus);
        r = sd_bus_match_signal_async(bus, &m->job_removed, SERVICE, PATH, INTERFACE, "JobRemoved",
                                      on_job_removed, NULL, m);
        if (r < 0)
                return r;
        r = sd_bus_call_method_async(bus, &m->subscribe, SERVICE, PATH, INTERFACE, "Subscribe",
                                     on_subscribed, m, NULL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        while (m->requests)
                manager_request_free(m->requests);
        sd_bus_slot_unref(m->job_removed);
        sd_bus_slot_unref(m->subscribe);
        sd_bus_unref(m->bus);
        free(m);
        return NULL;
}

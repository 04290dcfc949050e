/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "polkit.h"

#include <assert.h>

#include "error.h"

/* A person may have to find a password. */
#define ASK_TIMEOUT_USEC (5 * USEC_PER_MINUTE)

struct Authorization {
        sd_bus_message *call;
        sd_bus_slot *slot;
        char *action, *app;
        uid_t uid; /* of the caller, once it is known */
        authorization_handler_t handler;
        void *userdata;
};

Authorization *authorization_free(Authorization *a) {
        if (!a)
                return NULL;
        sd_bus_slot_unref(a->slot);
        sd_bus_message_unref(a->call);
        free(a->action);
        free(a->app);
        free(a);
        return NULL;
}

static void finish(Authorization *a, int r, const sd_bus_error *error) {
        authorization_handler_t handler = a->handler;
        void *userdata = a->userdata;
        uid_t uid = a->uid;

        authorization_free(a);
        handler(r, uid, error, userdata);
}

static void refuse(Authorization *a, const char *why) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_error_setf(&error, sand_error_info(SAND_ERROR_DENIED)->dbus_name, "%s (polkit action %s)", why,
                              a->action);
        finish(a, r, &error);
}

static int on_polkit(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        Authorization *a = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        int authorized, challenge, r;

        if (e) {
                bool absent = sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                        sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
                refuse(a, absent ? "only root may do this, there is no polkit to allow others" : strempty(e->message));
                return 0;
        }
        r = sd_bus_message_enter_container(m, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(m, "bb", &authorized, &challenge);
        if (r < 0)
                refuse(a, "polkit's answer is not understood");
        else if (authorized)
                finish(a, 0, NULL);
        else
                refuse(a, challenge ? "authentication is required: run it as root, or where polkit can ask for a password"
                                    : "polkit does not allow it");
        return 0;
}

static int ask_polkit(Authorization *a) {
        int interactive = sd_bus_message_get_allow_interactive_authorization(a->call);
        sd_bus *bus = sd_bus_message_get_bus(a->call);
        sd_bus_message *m = NULL;
        int r;

        a->slot = sd_bus_slot_unref(a->slot);
        r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(a->call), a->action);
        if (r >= 0 && a->app)
                r = sd_bus_message_append(m, "a{ss}", 1, "app", a->app);
        else if (r >= 0)
                r = sd_bus_message_append(m, "a{ss}", 0);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", interactive > 0 ? 1U : 0U, "");
        if (r >= 0)
                r = sd_bus_call_async(bus, &a->slot, m, on_polkit, a, ASK_TIMEOUT_USEC);
        sd_bus_message_unref(m);
        return r;
}

static int on_sender_uid(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        Authorization *a = userdata;
        uint32_t uid;

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0)
                refuse(a, "the caller has left");
        else if ((a->uid = uid) == 0)
                finish(a, 0, NULL);
        else if (ask_polkit(a) < 0)
                refuse(a, "polkit cannot be asked");
        return 0;
}

int authorization_new(sd_bus_message *call, const char *action, const char *app,
                      authorization_handler_t handler, void *userdata, Authorization **ret) {
        _cleanup_(authorization_freep) Authorization *a = calloc(1, sizeof(Authorization));
        const char *sender = sd_bus_message_get_sender(call);
        int r;

        assert(handler);
        if (!a)
                return -ENOMEM;
        if (!sender)
                return -EPERM;
        *a = (Authorization) { .call = sd_bus_message_ref(call), .handler = handler, .userdata = userdata };
        a->action = strdup(action);
        if (!a->action || free_and_strdup(&a->app, app) < 0)
                return -ENOMEM;
        r = sd_bus_call_method_async(sd_bus_message_get_bus(call), &a->slot, "org.freedesktop.DBus",
                                     "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser",
                                     on_sender_uid, a, "s", sender);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

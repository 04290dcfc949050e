/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "machine-control.h"

#include <assert.h>
#include <stdio.h>

#include "error.h"
#include "protocol.h"

struct MachineControl {
        char *app;
        sd_bus *bus;
        sd_bus_slot *slot;
        machine_control_handler_t handler;
        void *userdata;
};

static void bus_closep(sd_bus **bus) {
        sd_bus_close_unref(*bus);
}

static int machine_control_open(const char *app, sd_bus **ret) {
        _cleanup_(bus_closep) sd_bus *bus = NULL;
        char address[256];
        int r;

        /* Names of applications need no escaping in a D-Bus address. */
        (void) snprintf(address, sizeof(address), "unix:path=" SAND_CONTROL_SOCKET_DIR "/%s.control", app);
        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, address);
        if (r < 0)
                return r;
        /* The supervisor sees us as the overflow uid, so there is no identity to prove: reaching the socket is
         * the proof. */
        r = sd_bus_set_anonymous(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

int machine_control_new(sd_event *event, const char *app, MachineControl **ret) {
        _cleanup_(machine_control_freep) MachineControl *c = calloc(1, sizeof(MachineControl));
        int r;

        if (!c)
                return -ENOMEM;
        r = free_and_strdup(&c->app, app);
        if (r < 0)
                return r;
        r = machine_control_open(app, &c->bus);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(c->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

MachineControl *machine_control_free(MachineControl *c) {
        if (!c)
                return NULL;
        sd_bus_slot_unref(c->slot);
        sd_bus_close_unref(c->bus);
        free(c->app);
        free(c);
        return NULL;
}

/* An error of the supervisor keeps its name; what sd-bus says about a connection becomes one of ours. */
static int translate(const char *app, const sd_bus_error *e, sd_bus_error *ret) {
        SandError known = sand_error_from_name(e->name);

        if (known == _SAND_ERROR_INVALID)
                known = SAND_ERROR_UNAVAILABLE;
        if (startswith(e->name, SAND_ERROR_PREFIX))
                return sd_bus_error_setf(ret, e->name, "%s", strempty(e->message));
        return sd_bus_error_setf(ret, sand_error_info(known)->dbus_name,
                                 "%s: the machine %s; see `journalctl -u sand-app@%s.service`.", app,
                                 known == SAND_ERROR_TIMEOUT ? "did not answer in time" :
                                 known == SAND_ERROR_CRASHED ? "died before it answered" : strempty(e->message),
                                 app);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *unused) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        MachineControl *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *text = "";
        int r = 0;

        c->slot = sd_bus_slot_unref(c->slot);
        if (e)
                r = translate(c->app, e, &error);
        else if (!sd_bus_message_is_empty(m) && sd_bus_message_read(m, "s", &text) < 0)
                r = sd_bus_error_setf(&error, sand_error_info(SAND_ERROR_UNAVAILABLE)->dbus_name,
                                      "%s: the supervisor's answer is not understood.", c->app);
        c->handler(r, &error, text, c->userdata);
        return 0;
}

static int new_call(MachineControl *c, const char *method, sd_bus_message **ret) {
        if (c->slot)
                return -EBUSY;
        return sd_bus_message_new_method_call(c->bus, ret, NULL, SAND_CONTROL_PATH, SAND_CONTROL_INTERFACE, method);
}

static int send_call(MachineControl *c, sd_bus_message *m, uint64_t timeout_usec, machine_control_handler_t handler,
                     void *userdata) {
        assert(handler);
        c->handler = handler;
        c->userdata = userdata;
        return sd_bus_call_async(c->bus, &c->slot, m, on_reply, c, timeout_usec);
}

int machine_control_call(MachineControl *c, const char *method, const char *argument, uint64_t timeout_usec,
                         machine_control_handler_t handler, void *userdata) {
        sd_bus_message *m = NULL;
        int r;

        r = new_call(c, method, &m);
        if (r >= 0 && argument)
                r = sd_bus_message_append(m, "s", argument);
        if (r >= 0)
                r = send_call(c, m, timeout_usec, handler, userdata);
        sd_bus_message_unref(m);
        return r;
}

int machine_control_set_credential(MachineControl *c, const char *name, int fd, uint64_t timeout_usec,
                                   machine_control_handler_t handler, void *userdata) {
        sd_bus_message *m = NULL;
        int r;

        r = new_call(c, "SetCredential", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "sh", name, fd);
        if (r >= 0)
                r = send_call(c, m, timeout_usec, handler, userdata);
        sd_bus_message_unref(m);
        return r;
}

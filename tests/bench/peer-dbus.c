/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A method call through a bus, sd-bus at both ends. */

#include <systemd/sd-bus.h>

#include "peer.h"

#define SERVICE "org.example.Echo"

static sd_bus *bus;

static void dbus_open(char **address) {
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address[0]);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                die(address[0], r);
}

static int on_echo(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const void *data;
        size_t size;
        int r;

        r = sd_bus_message_read_array(m, 'y', &data, &size);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'y', data, size);
        if (r >= 0)
                r = sd_bus_message_send(reply);
        return r < 0 ? r : 1;
}

static void dbus_serve(char **address) {
        int r;

        dbus_open(address);
        r = sd_bus_add_object(bus, NULL, "/echo", on_echo, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, SERVICE, 0);
        if (r < 0)
                die(SERVICE, r);
        ready();
        while ((r = sd_bus_process(bus, NULL)) >= 0)
                if (r == 0)
                        (void) sd_bus_wait(bus, UINT64_MAX);
        die("bus", r);
}

static void dbus_request(const char *body, size_t size) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, SERVICE, "/echo", SERVICE, "Echo");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', body, size);
        if (r >= 0)
                r = sd_bus_call(bus, m, 0, NULL, &reply);
        if (r < 0)
                die("Echo", r);
}

const Peer peer_dbus = { "dbus", "ADDRESS", dbus_serve, dbus_open, dbus_request };

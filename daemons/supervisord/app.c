/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a caller outside may ask of the application, and what any D-Bus peer is asked: who it is and what it offers. */

#include "bus.h"

#include <stdio.h>

#include "macro.h"
#include "protocol.h"

#define ERROR_PREFIX "org.freedesktop.DBus.Error."
#define STANDARD_PREFIX "org.freedesktop.DBus."

static const char introspection[] =
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
        "\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
        "<node>\n"
        " <interface name=\"org.freedesktop.DBus.Peer\">\n"
        "  <method name=\"Ping\"/>\n"
        "  <method name=\"GetMachineId\"><arg type=\"s\" name=\"machine_uuid\" direction=\"out\"/></method>\n"
        " </interface>\n"
        " <interface name=\"org.freedesktop.DBus.Introspectable\">\n"
        "  <method name=\"Introspect\"><arg type=\"s\" name=\"xml_data\" direction=\"out\"/></method>\n"
        " </interface>\n"
        " <interface name=\"org.freedesktop.DBus.Properties\">\n"
        "  <method name=\"Get\">\n"
        "   <arg type=\"s\" name=\"interface_name\" direction=\"in\"/>\n"
        "   <arg type=\"s\" name=\"property_name\" direction=\"in\"/>\n"
        "   <arg type=\"v\" name=\"value\" direction=\"out\"/>\n"
        "  </method>\n"
        "  <method name=\"GetAll\">\n"
        "   <arg type=\"s\" name=\"interface_name\" direction=\"in\"/>\n"
        "   <arg type=\"a{sv}\" name=\"properties\" direction=\"out\"/>\n"
        "  </method>\n"
        "  <method name=\"Set\">\n"
        "   <arg type=\"s\" name=\"interface_name\" direction=\"in\"/>\n"
        "   <arg type=\"s\" name=\"property_name\" direction=\"in\"/>\n"
        "   <arg type=\"v\" name=\"value\" direction=\"in\"/>\n"
        "  </method>\n"
        " </interface>\n"
        "%s"
        "</node>\n";

static const char app_interface[] =
        " <interface name=\"" SAND_APP_INTERFACE "\">\n"
        "  <method name=\"Invoke\">\n"
        "   <arg type=\"s\" name=\"target\" direction=\"in\"/>\n"
        "   <arg type=\"s\" name=\"execution\" direction=\"in\"/>\n"
        "   <arg type=\"t\" name=\"deadline\" direction=\"in\"/>\n"
        "   <arg type=\"s\" name=\"content_type\" direction=\"in\"/>\n"
        "   <arg type=\"a{ss}\" name=\"headers\" direction=\"in\"/>\n"
        "   <arg type=\"v\" name=\"payload\" direction=\"in\"/>\n"
        "   <arg type=\"s\" name=\"content_type\" direction=\"out\"/>\n"
        "   <arg type=\"(ttt)\" name=\"usage\" direction=\"out\"/>\n"
        "   <arg type=\"v\" name=\"payload\" direction=\"out\"/>\n"
        "  </method>\n"
        "  <method name=\"Describe\"><arg type=\"s\" name=\"json\" direction=\"out\"/></method>\n"
        "  <signal name=\"GoAway\"/>\n"
        " </interface>\n";

static void reply_string(Connection *c, const WireMessage *m, const char *s) {
        WireWriter out;

        if (m->no_reply)
                return;
        wire_reply(&c->wire, &out, m, "s", 0);
        wire_put_string(&out, s);
        (void) wire_send(&c->wire, &out);
}

static void refuse(Connection *c, const WireMessage *m, const char *name, const char *text) {
        (void) wire_refuse_as(&c->wire, m, name, text);
}

static void method_invoke(Connection *c, WireMessage *m) {
        Failure failure;
        Event *e;

        if (event_new(&c->caller, m, false, &e, &failure) < 0)
                (void) wire_reply_failure(&c->wire, m, &failure, NULL);
        else
                supervisor_submit(c->supervisor, e);
}

static void method_describe(Connection *c, WireMessage *m) {
        json_object *o = supervisor_describe(c->supervisor);

        reply_string(c, m, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
}

static void method_ping(Connection *c, WireMessage *m) {
        WireWriter out;

        if (m->no_reply)
                return;
        wire_reply(&c->wire, &out, m, "", 0);
        (void) wire_send(&c->wire, &out);
}

static void method_get_machine_id(Connection *c, WireMessage *m) {
        char text[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (sd_id128_get_machine(&id) < 0)
                refuse(c, m, ERROR_PREFIX "Failed", "This machine has no id.");
        else
                reply_string(c, m, sd_id128_to_string(id, text));
}

/* The object, or a node on the way to it. */
static void method_introspect(Connection *c, WireMessage *m) {
        const char *rest = startswith(SAND_APP_PATH, m->path);
        char text[sizeof(introspection) + sizeof(app_interface)], child[sizeof(SAND_APP_PATH) + 32] = "";

        if (streq(m->path, "/"))
                rest = SAND_APP_PATH;
        if (!rest || (*rest && *rest != '/')) {
                refuse(c, m, ERROR_PREFIX "UnknownObject", "No such object here.");
                return;
        }
        if (*rest)
                (void) snprintf(child, sizeof(child), " <node name=\"%.*s\"/>\n", (int) strcspn(rest + 1, "/"), rest + 1);
        (void) snprintf(text, sizeof(text), introspection, *rest ? child : app_interface);
        reply_string(c, m, text);
}

static void method_no_property(Connection *c, WireMessage *m) {
        refuse(c, m, ERROR_PREFIX "UnknownProperty", "There are no properties here.");
}

static void method_get_all(Connection *c, WireMessage *m) {
        const char *interface;
        WireWriter out;
        WireReader in;

        wire_reader_init(&in, m);
        if (wire_read_string(&in, &interface) < 0) {
                refuse(c, m, ERROR_PREFIX "InvalidArgs", "Expected an interface.");
                return;
        }
        if (!streq(m->path, SAND_APP_PATH) || (!streq(interface, SAND_APP_INTERFACE) && !isempty(interface))) {
                refuse(c, m, ERROR_PREFIX "UnknownInterface", "No such interface here.");
                return;
        }
        if (m->no_reply)
                return;
        wire_reply(&c->wire, &out, m, "a{sv}", 0);
        wire_put_u32(&out, 0);
        wire_put_align(&out, 8);
        (void) wire_send(&c->wire, &out);
}

static const struct Method {
        const char *interface, *member;
        const char *signature; /* NULL: its handler looks at it */
        bool anywhere;         /* on any path */
        void (*handle)(Connection *c, WireMessage *m);
} methods[] = {
        { SAND_APP_INTERFACE, "Invoke", NULL, false, method_invoke },
        { SAND_APP_INTERFACE, "Describe", "", false, method_describe },
        { STANDARD_PREFIX "Peer", "Ping", "", true, method_ping },
        { STANDARD_PREFIX "Peer", "GetMachineId", "", true, method_get_machine_id },
        { STANDARD_PREFIX "Introspectable", "Introspect", "", true, method_introspect },
        { STANDARD_PREFIX "Properties", "Get", "ss", true, method_no_property },
        { STANDARD_PREFIX "Properties", "Set", "ssv", true, method_no_property },
        { STANDARD_PREFIX "Properties", "GetAll", "s", true, method_get_all },
};

static bool interface_is_known(const char *interface) {
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].interface, interface))
                        return true;
        return false;
}

void app_handle(Connection *c, WireMessage *m) {
        if (m->type != WIRE_CALL)
                return;
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                const struct Method *d = methods + i;

                if (!streq(m->member, d->member) || (m->interface && !streq(m->interface, d->interface)))
                        continue;
                if (!d->anywhere && !streq(m->path, SAND_APP_PATH))
                        refuse(c, m, ERROR_PREFIX "UnknownObject", "No such object here.");
                else if (d->signature && !streq(m->signature, d->signature))
                        refuse(c, m, ERROR_PREFIX "InvalidArgs", "Not with these arguments.");
                else
                        d->handle(c, m);
                return;
        }
        if (m->interface && !interface_is_known(m->interface))
                refuse(c, m, ERROR_PREFIX "UnknownInterface", "No such interface here.");
        else
                refuse(c, m, ERROR_PREFIX "UnknownMethod", "No such method here.");
}

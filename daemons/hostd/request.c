/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <fcntl.h>
#include <stdio.h>

#include "log.h"

Request *request_free(Request *q) {
        if (!q)
                return NULL;
        for (Request **i = &q->host->requests; *i; i = &(*i)->next)
                if (*i == q) {
                        *i = q->next;
                        q->host->n_requests--;
                        break;
                }
        authorization_free(q->authorization);
        manager_request_free(q->manager_request);
        machine_control_free(q->control);
        sd_bus_message_unref(q->properties);
        sd_bus_message_unref(q->call);
        safe_close(q->fd);
        strv_free(q->names);
        free(q->secret);
        free(q->source);
        free(q->version);
        free(q->file);
        free(q->text);
        free(q->token.name);
        free(q->token_prefix);
        free(q->name);
        free(q);
        return NULL;
}

/* After its answer. */
void request_end(Request *q) {
        Host *h = q->host;

        request_free(q);
        host_note_activity(h);
}

void request_refuse(Request *q, const sd_bus_error *error) {
        int r = sd_bus_reply_method_error(q->call, error);

        if (r < 0)
                log_warning_errno(r, "Failed to answer a request, ignoring: %m");
        request_end(q);
}

void request_fail(Request *q, int r, SandError e, const char *text) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        char reason[128];

        (void) sd_bus_error_setf(&error, sand_error_info(e)->dbus_name, "%s%s%s", text, r < 0 ? ": " : "",
                                 r < 0 ? strerror_r(-r, reason, sizeof(reason)) : "");
        request_refuse(q, &error);
}

/* For a negative result of what reads an application's files. */
void request_fail_app(Request *q, int r) {
        _cleanup_(freep) char *text = NULL;

        if (r == -ENOENT && asprintf(&text, "There is no application '%s'.", q->name) >= 0)
                request_fail(q, 0, SAND_ERROR_NOT_FOUND, text);
        else
                request_fail(q, r, SAND_ERROR_UNAVAILABLE, "The application cannot be read");
}

int request_new(Host *h, sd_bus_message *call, int (*perform)(Request *q), Request **ret) {
        Request *q;

        if (h->n_requests >= HOST_REQUESTS_MAX)
                return -ENOBUFS;
        q = calloc(1, sizeof(Request));
        if (!q)
                return -ENOMEM;
        *q = (Request) {
                .host = h, .call = sd_bus_message_ref(call), .perform = perform, .fd = -EBADF,
                .next = h->requests,
        };
        h->requests = q;
        h->n_requests++;
        host_note_activity(h);
        *ret = q;
        return 0;
}

void request_perform(Request *q) {
        int r = q->perform(q);

        if (r < 0)
                request_fail(q, r, r == -ENOMEM ? SAND_ERROR_UNAVAILABLE : sand_error_from_errno(r),
                             "The request failed");
}

static void on_authorized(int r, uid_t uid, const sd_bus_error *error, void *userdata) {
        Request *q = userdata;

        q->authorization = NULL;
        q->uid = uid;
        if (r < 0)
                request_refuse(q, error);
        else
                request_perform(q);
}

/* The request, which is consumed, is answered later. */
int request_authorize(Request *q, const char *action) {
        int r = authorization_new(q->call, action, q->name, on_authorized, q, &q->authorization);

        if (r < 0)
                request_fail(q, r, SAND_ERROR_DENIED, "The caller cannot be looked at");
        return 1;
}

int request_refuse_now(sd_bus_message *m, sd_bus_error *error, int r) {
        if (r == -ENOBUFS)
                return sd_bus_error_set(error, sand_error_info(SAND_ERROR_BUSY)->dbus_name,
                                        "Too many requests are under way.");
        return r;
}

int request_is_bad(sd_bus_error *error, const char *text) {
        return sd_bus_error_set(error, sand_error_info(SAND_ERROR_BAD_REQUEST)->dbus_name, text);
}

/* The message owns its descriptor. */
int request_keep_fd(Request *q, int fd) {
        q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return q->fd < 0 ? -errno : 0;
}

int request_read_name(sd_bus_message *m, const char **ret, sd_bus_error *error) {
        int r = sd_bus_message_read(m, "s", ret);

        if (r < 0)
                return r;
        /* What cannot be a name is the name of nothing. */
        if (!app_name_is_valid(*ret))
                return sd_bus_error_setf(error, sand_error_info(SAND_ERROR_NOT_FOUND)->dbus_name,
                                         "There is no application '%s'.", *ret);
        return 0;
}

int request_reply_list(Request *q, const char *type, request_append_t append, request_append_all_t append_all) {
        const Places *p = &q->host->operations.places;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(q->call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', type);
        if (r >= 0)
                r = q->name ? append(p, reply, q->name) : append_all(p, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(q->host->bus, reply, NULL);
        sd_bus_message_unref(reply);
        if (r >= 0)
                request_end(q);
        return r;
}

int request_list(sd_bus_message *m, Host *h, int (*perform)(Request *q), sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0 && *name && !app_name_is_valid(name))
                r = request_is_bad(error, REQUEST_NO_APP_NAME);
        if (r < 0)
                return r;
        r = request_new(h, m, perform, &q);
        if (r >= 0 && *name)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return request_refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_INSPECT);
}

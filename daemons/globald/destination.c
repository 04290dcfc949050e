/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "destination.h"

#include <stdio.h>

#include "document.h"

static const char *condition(const LogFinish *f, const LogEvent *e) {
        if (f->outcome == LOG_SUCCEEDED)
                return "Success";
        return f->now >= e->expires_usec ? "EventAgeExceeded" : "RetriesExhausted";
}

static void add_payload(json_object *o, const char *key, const char *type, const void *data, size_t size) {
        json_object *value = content_type_is_json(type) ? document_parse(data, size) : NULL;

        json_object_object_add(o, key, value ?: document_base64(strempty(data), size));
}

json_object *destination_document(const LogEvent *e, const LogFinish *f) {
        json_object *o = json_object_new_object(), *request = json_object_new_object(), *response = json_object_new_object();
        char id[LOG_ID_LENGTH + 1], time[32], function[160];

        log_id_to_string(e->id, id);
        document_time(f->now, time);
        (void) snprintf(function, sizeof(function), "%s/%s", e->app, e->function);
        json_object_object_add(request, "requestId", json_object_new_string(id));
        json_object_object_add(request, "functionArn", json_object_new_string(function));
        json_object_object_add(request, "condition", json_object_new_string(condition(f, e)));
        json_object_object_add(request, "approximateInvokeCount", json_object_new_int64(e->attempt));
        json_object_object_add(response, "statusCode", json_object_new_int(f->outcome == LOG_SUCCEEDED ? 200
                                                                           : (int) sand_error_info(f->error)->http_status));
        if (f->outcome != LOG_SUCCEEDED)
                json_object_object_add(response, "functionError", json_object_new_string(strempty(f->error_class)));

        json_object_object_add(o, "version", json_object_new_string("1.0"));
        json_object_object_add(o, "timestamp", json_object_new_string(time));
        json_object_object_add(o, "requestContext", request);
        add_payload(o, "requestPayload", e->content_type, e->data, e->size);
        json_object_object_add(o, "responseContext", response);
        if (f->outcome == LOG_SUCCEEDED)
                add_payload(o, "responsePayload", f->result_type, f->result, f->result_size);
        else {
                json_object *error = json_object_new_object();

                json_object_object_add(error, "errorType", json_object_new_string(strempty(f->error_class)));
                json_object_object_add(error, "errorMessage", json_object_new_string(strempty(f->message)));
                json_object_object_add(o, "responsePayload", error);
        }
        return o;
}

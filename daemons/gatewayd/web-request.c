/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-request.h"

#include <strings.h>

static int compare_fields(const void *a, const void *b) {
        const WebField *x = a, *y = b;
        int r = strcasecmp(x->name, y->name);

        return r != 0 ? r : x->position < y->position ? -1 : x->position > y->position;
}

void web_fields_sort(WebField *fields, size_t n) {
        if (n > 1)
                qsort(fields, n, sizeof(WebField), compare_fields);
}

static int compare_name(const void *key, const void *field) {
        return strcasecmp(key, ((const WebField *) field)->name);
}

const char *web_field(const WebRequest *q, const char *name) {
        const WebField *f = q->n_fields > 0 ? bsearch(name, q->fields, q->n_fields, sizeof(WebField), compare_name) : NULL;
        return f ? f->value : NULL;
}

/* "name:80", "[::1]:80" */
size_t web_host_length(const char *host) {
        size_t n;

        if (*host != '[')
                return strcspn(host, ":");
        n = strcspn(host, "]");
        return host[n] ? n + 1 : n;
}

const char *web_host_port(const char *host, bool https) {
        const char *port = host + web_host_length(host);

        if (*port++ == ':' && *port && !port[strspn(port, "0123456789")])
                return port;
        return https ? "443" : "80";
}

bool web_field_is_hop_by_hop(const char *name) {
        static const char *const names[] = {
                "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcasecmp(name, names[i]) == 0)
                        return true;
        return false;
}

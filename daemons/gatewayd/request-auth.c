/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who may ask for what. From outside nobody is told which applications there are: without a token in force every path of
 * every application is 401, and with one every path of another application is 403, whether or not it is there. */

#include <arpa/inet.h>
#include <strings.h>

#include "request-private.h"

#define CHALLENGE "Bearer realm=\"sand\""
#define CHALLENGE_INVALID CHALLENGE ", error=\"invalid_token\""

typedef struct Header {
        const char *name;
        const char *value; /* of the last one */
        size_t size;
        unsigned n;
} Header;

static enum MHD_Result on_header(void *userdata, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                 const char *value, size_t value_size) {
        Header *h = userdata;

        if (strcasecmp(name, h->name) == 0) {
                h->value = strempty(value);
                h->size = value_size;
                h->n++;
        }
        return MHD_YES;
}

static Header find_header(const Request *q, const char *name) {
        Header h = { .name = name };

        (void) http_header_each(q->connection, on_header, &h);
        return h;
}

/* ---- tokens ---- */

static bool needs_token(const Request *q) {
        return http_is_tls(q->connection) || q->gateway->settings.require_tokens;
}

static void refuse_token(Request *q, const char *challenge, const char *detail) {
        q->challenge = challenge;
        request_refuse(q, SAND_ERROR_DENIED, MHD_HTTP_UNAUTHORIZED, "%s", detail);
}

static bool check_token(Request *q) {
        Header h = find_header(q, MHD_HTTP_HEADER_AUTHORIZATION);
        static const char scheme[] = "Bearer ";
        const char *token;
        TokenMatch match;

        if (h.n == 0) {
                refuse_token(q, CHALLENGE, "A token of the application is needed: Authorization: Bearer TOKEN.");
                return false;
        }
        if (h.n > 1 || h.size <= strlen(scheme) || strncasecmp(h.value, scheme, strlen(scheme)) != 0) {
                refuse_token(q, CHALLENGE, "Authorization is expected once, as Bearer TOKEN.");
                return false;
        }
        token = h.value + strlen(scheme);
        token += strspn(token, " ");
        if (!q->gateway->tokens || tokens_find(q->gateway->tokens, token, strlen(token), &match) < 0) {
                refuse_token(q, CHALLENGE_INVALID, "The token is not in force: it expired, was revoked, or never was one.");
                return false;
        }
        strcpy(q->token, match.id);
        strcpy(q->token_app, match.app);
        if (q->route == ROUTE_EXECUTION || streq(match.app, q->target.app))
                return true;
        request_refuse(q, SAND_ERROR_DENIED, MHD_HTTP_FORBIDDEN, "The token is not one of the application \"%s\".",
                       q->target.app);
        return false;
}

/* A browser asks without credentials whether it may send them: it is told what the route's rules say, and nothing else. */
static bool is_preflight(const Request *q, const char *rest, const char *method) {
        _cleanup_(web_done) Web web = {};
        App *app;

        if (q->route != ROUTE_WEB || !streq(method, MHD_HTTP_METHOD_OPTIONS))
                return false;
        app = apps_find(q->gateway->apps, q->target.app);
        return app && web_begin(&web, app->web, rest, http_query(q->connection), method, &q->header) >= 0 && web.preflight;
}

/* ---- pages ---- */

/* "http://localhost:3000" */
static bool origin_is_local(const char *origin) {
        const char *host = startswith(origin, "http://") ?: startswith(origin, "https://");
        char name[INET6_ADDRSTRLEN + 2];
        size_t n = host ? web_host_length(host) : 0;
        struct in_addr address;

        if (n == 0 || n >= sizeof(name))
                return false;
        memcpy(name, host, n);
        name[n] = 0;
        return strcasecmp(name, "localhost") == 0 || streq(name, "[::1]") ||
                (n > strlen(".localhost") && strcasecmp(name + n - strlen(".localhost"), ".localhost") == 0) ||
                (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET);
}

/* A page from anywhere can have its reader's browser send requests to a loopback address, also under a name of its own for
 * it. A browser says on whose behalf; triggers have rules for that, functions have not. A proxy is no browser. */
static bool check_origin(Request *q) {
        if ((q->route != ROUTE_INVOKE && q->route != ROUTE_EVENTS) || !q->header.origin || q->gateway->settings.trust_forwarded ||
            http_is_unix(q->connection) || origin_is_local(q->header.origin))
                return true;
        request_refuse(q, SAND_ERROR_DENIED, MHD_HTTP_FORBIDDEN, "A page of %.100s may not invoke functions here, nor send them events. Give it an "
                       "HTTP trigger with \"cors\"; where this is what a proxy sent, see TrustForwarded= in gatewayd.conf(5).",
                       q->header.origin);
        return false;
}

bool request_is_allowed(Request *q, const char *rest, const char *method) {
        if (q->route == ROUTE_HEALTHZ || q->route == ROUTE_METRICS)
                return true;
        if (needs_token(q))
                return is_preflight(q, rest, method) || check_token(q);
        return check_origin(q);
}

bool request_may_see(const Request *q, const char *app) {
        return !*q->token || streq(q->token_app, app);
}

/* ---- the client ---- */

/* The last address of the list is what the proxy saw that we talk to; what is before it is its client's word. */
static bool parse_forwarded(const char *list, char ret[static INET6_ADDRSTRLEN]) {
        const char *last = strrchr(list, ',');
        char text[INET6_ADDRSTRLEN + 2];
        struct in6_addr address;
        size_t n;

        last = last ? last + 1 : list;
        last += strspn(last, " \t");
        n = strcspn(last, " \t");
        if (*last == '[') { /* "[::1]:80" */
                last++;
                n = strcspn(last, "]");
        }
        if (n == 0 || n >= INET6_ADDRSTRLEN)
                return false;
        memcpy(text, last, n);
        text[n] = 0;
        if (inet_pton(AF_INET6, text, &address) != 1) {
                text[strcspn(text, ":")] = 0; /* "192.0.2.1:80" */
                if (inet_pton(AF_INET, text, &address) != 1)
                        return false;
        }
        strcpy(ret, text);
        return true;
}

void request_client(const Request *q, WebClient *ret) {
        Header h;

        *ret = (WebClient) { .tls = http_is_tls(q->connection) };
        http_remote(q->connection, ret->address);
        if (ret->tls || (!q->gateway->settings.trust_forwarded && !http_is_unix(q->connection)))
                return;
        h = find_header(q, "X-Forwarded-For");
        if (h.n == 0 || !parse_forwarded(h.value, ret->address))
                return;
        ret->forwarded = true;
        h = find_header(q, "X-Forwarded-Proto");
        ret->https = h.n > 0 && strcasecmp(h.value, "https") == 0;
}

/* ---- the log ---- */

RequestAccess *request_access_new(const Request *q, const char *path, const char *method) {
        _cleanup_(request_access_freep) RequestAccess *a = calloc(1, sizeof(RequestAccess));
        WebClient client;

        if (!a)
                return NULL;
        request_client(q, &client);
        strcpy(a->client, client.address);
        a->began = now_usec();
        a->method = strdup(method);
        a->path = strdup(path);
        a->user_agent = strdup(strempty(find_header(q, MHD_HTTP_HEADER_USER_AGENT).value));
        return a->method && a->path && a->user_agent ? TAKE_PTR(a) : NULL;
}

RequestAccess *request_access_free(RequestAccess *a) {
        if (!a)
                return NULL;
        free(a->method);
        free(a->path);
        free(a->user_agent);
        free(a);
        return NULL;
}

void request_log(const Request *q) {
        const RequestAccess *r = q->access;
        const Access a = {
                .method = r->method,
                .path = r->path,
                .app = q->app ? q->target.app : NULL,
                .function = q->app ? q->target.function : NULL,
                .execution = q->id,
                .client = r->client,
                .user_agent = r->user_agent,
                .token = q->token,
                .status = http_status(q->connection) ?: CLIENT_CLOSED,
                .received = r->received,
                .sent = r->sent,
                .usec = usec_sub(now_usec(), r->began),
        };

        if (q->gateway->access_log)
                access_log_write(q->gateway->access_log, &a);
}

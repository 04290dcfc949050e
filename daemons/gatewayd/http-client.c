/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-client.h"

#include <netinet/in.h>
#include <search.h>
#include <sys/socket.h>

#include "macro.h"

static HttpClientKey client_key(int fd, const struct sockaddr *sa) {
        const struct sockaddr_in6 *v6 = (const void *) sa;
        HttpClientKey key = { .family = sa->sa_family };

        if (sa->sa_family == AF_INET)
                memcpy(key.address, &((const struct sockaddr_in *) (const void *) sa)->sin_addr, 4);
        else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
                key.family = AF_INET;
                memcpy(key.address, v6->sin6_addr.s6_addr + 12, 4);
        } else if (sa->sa_family == AF_INET6)
                memcpy(key.address, &v6->sin6_addr, 8);
        else {
                struct ucred who = { .uid = (uid_t) -1 };
                socklen_t size = sizeof(who);

                (void) getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
                memcpy(key.address, &who.uid, sizeof(who.uid));
        }
        return key;
}

static int compare(const void *a, const void *b) {
        return memcmp(a, b, sizeof(HttpClientKey)); /* a client begins with it */
}

HttpClient *http_client_get(HttpClients *clients, int fd, const struct sockaddr *sa) {
        HttpClientKey key = client_key(fd, sa);
        HttpClient **found, *c;

        found = tfind(&key, clients, compare);
        if (found) {
                (*found)->n_ref++;
                return *found;
        }
        c = calloc(1, sizeof(HttpClient));
        if (!c)
                return NULL;
        c->key = key;
        c->n_ref = 1;
        if (!tsearch(c, clients, compare)) {
                free(c);
                return NULL;
        }
        return c;
}

HttpClient *http_client_put(HttpClients *clients, HttpClient *c) {
        if (!c || --c->n_ref > 0)
                return NULL;
        (void) tdelete(c, clients, compare);
        free(c);
        return NULL;
}

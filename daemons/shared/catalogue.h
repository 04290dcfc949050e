/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* SAND_CATALOGUE_DIR/NAME.json: what hostd publishes of an application, by rename, world-readable,
 * without secrets; what gatewayd and globald know. A name that is not there does not exist.
 *
 * {"name":"thumbnails","version":"3-0f3a...","hash":"...","uid_base":1000000,
 *  "functions":{"resize":{"runtime":"native","timeout_usec":30000000,"payload_max":16777216,
 *                         "queue_max":1000,"content_type":"image/jpeg","instances_max":16,
 *                         "retry":{"attempts":3,"delay_usec":1000000,"backoff":2.0,"delay_max_usec":300000000,
 *                                  "age_max_usec":21600000000,"timeouts":true},
 *                         "on_success":"thumbnails/index","on_failure":"alarms/mail"}},
 *  "routes":[{"http":"GET /photos/{id}","target":"resize","cors":{"origins":["https://example.org"],
 *             "methods":["GET"],"headers":["x-api-key"],"expose_headers":["etag"],"max_age_usec":600000000,
 *             "credentials":true},"async":true}],
 *  "topics":[{"event":"orders.*","target":"resize"}],
 *  "allow":["shop"],
 *  "triggers":{"timer-0":{"target":"resize","input":{"all":true},"overlap":false},
 *              "path-1":{"target":"resize","path":"/mnt/in/new","host":"/srv/photos/new"}}}
 * "triggers" are those that systemd sets off, by what their units are called and with their number in the manifest's array; the
 * trigger program reads them, with this application's own names of functions: for others they are as good as not there.
 * What is NULL or false is not said; what an older hostd published has less, and then a manifest's defaults count. */

#include "manifest.h"

typedef struct CatalogueFunction {
        char *name, *content_type; /* content_type: NULL when the manifest says nothing */
        Runtime runtime;
        uint64_t timeout_usec, payload_max;
        unsigned instances_max;
        RetryPolicy retry;
        char *on_success, *on_failure; /* `app/function`; NULL: none */
} CatalogueFunction;

typedef struct CatalogueEntry {
        char *name, *version, *hash;
        uint32_t uid_base;
        CatalogueFunction *functions;
        size_t n_functions;
        HttpTrigger *routes; /* the target of each is one of the functions */
        size_t n_routes;
        TopicTrigger *topics;
        size_t n_topics;
        char **allow;      /* other applications that may call, send and emit to this one; NULL: none */
} CatalogueEntry;

/* Reads one entry from the directory. -ENOENT: no such application; -EBADMSG: not an entry. */
int catalogue_read(int dir_fd, const char *name, CatalogueEntry **ret);
/* Sorted names of all entries; caller frees with strv_free(). */
int catalogue_list(int dir_fd, char ***ret);
CatalogueEntry *catalogue_entry_free(CatalogueEntry *e);
DEFINE_POINTER_CLEANUP(CatalogueEntry *, catalogue_entry_free);
const CatalogueFunction *catalogue_find(const CatalogueEntry *e, const char *function);

/* Writes an entry by rename, with fsync of file and directory; or removes it. */
int catalogue_publish(int dir_fd, const Manifest *m, const char *name, const char *version,
                      const char *hash, uint32_t uid_base);
int catalogue_withdraw(int dir_fd, const char *name);
/* Adds "routes" as above: what hostd tells of an application names them alike. */
int catalogue_add_routes(json_object *object, const Manifest *m);
/* Likewise a function's "retry". */
int catalogue_add_retry(json_object *object, const RetryPolicy *p);

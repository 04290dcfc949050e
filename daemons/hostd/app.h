/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an application is on disk. All state is here, and `current` decides: without it there is no application.
 *
 *     /var/lib/sand/apps/NAME/
 *             N-HASH12/           a version, immutable; N counts up, HASH12 begins its hash
 *             N-HASH12.sha256     its whole hash
 *             N-HASH12.json       who deployed it, when, from where (version.h)
 *             N-HASH12+HASH8/     the operator's overrides that the version is served with, as they were applied;
 *                                 HASH8 begins their hash
 *             current             -> the version that serves: one of the two kinds of folders
 *             uid-base            the application's range
 *             uids.json           its functions' uids
 *             address             its number in the machines' network (network-plan.h), once it has had one
 *             pending             what an operation is about to do, while it does it (app_pending())
 *     /var/lib/sand/apps/.incoming-*, .gone-*   trees that come or go; whose process died, garbage
 *
 * Functions here do small things to files and are safe to do again. */

#include <stdbool.h>
#include <stdint.h>

#include "bundle.h"
#include "manifest.h"
#include "network-plan.h"

#define VERSION_HASH_LENGTH 12
#define OVERRIDES_HASH_LENGTH 8
#define APP_INCOMING_PREFIX ".incoming-"
#define APP_GONE_PREFIX ".gone-"

/* The directories that all of it is in. */
typedef struct Places {
        int apps_fd, state_fd, catalogue_fd, secrets_fd, tokens_fd, machines_fd;
} Places;

#define PLACES_EMPTY ((Places) { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF })

int places_open(Places *ret);
void places_done(Places *p);

/* "12-0123456789ab", or with overrides "12-0123456789ab+89abcdef" */
bool version_is_valid(const char *s, uint64_t *ret_number);
/* How many of its characters name the bundle. */
size_t version_bundle_length(const char *version);

bool app_exists(const Places *p, const char *name);
/* All names, also of what is half there; caller frees. */
int app_list(const Places *p, char ***ret);

/* -ENOENT: none. */
int app_current(const Places *p, const char *name, char **ret_version);
int app_hash(const Places *p, const char *name, const char *version, char **ret_hash);
/* The bundle's manifest, with the overrides of the version. */
int app_layers(const Places *p, const char *name, const char *version, Layers *ret);
int app_manifest(const Places *p, const char *name, const char *version, Manifest **ret);
/* The folder of a version's bundle. */
int app_open_bundle(const Places *p, const char *name, const char *version);
/* Bundles, oldest first; caller frees. */
int app_versions(const Places *p, const char *name, char ***ret);
int app_uid_base(const Places *p, const char *name, uint32_t *ret);
/* -ENOENT: it has none. */
int app_network_number(const Places *p, const char *name, unsigned *ret);
int app_network_identity(const Places *p, const char *name, NetworkIdentity *ret);

typedef enum Pending {
        PENDING_NONE,
        PENDING_DEPLOY,
        PENDING_DEPLOY_KEEP_STATE, /* the first deployment; state was there before */
        PENDING_REMOVE,
        PENDING_REMOVE_KEEP_STATE,
} Pending;

Pending app_pending(const Places *p, const char *name);
int app_set_pending(const Places *p, const char *name, Pending pending);

int app_next_version(const Places *p, const char *name, const char *hash, char **ret);
/* Makes the version of the tree `incoming` in the folder of all applications. */
int app_store(const Places *p, const char *name, const char *incoming, const char *hash, const char *version);
/* The same for a folder of overrides. -EEXIST: the version is there. */
int app_store_overrides(const Places *p, const char *name, const char *incoming, const char *version);

/* Gives the application all that it has beside its versions: range, uids, address, machine root, state, the files of
 * its units. Sets *ret_changed if systemd must be told, *ret_renew if a machine that runs is not made so. With a text in *ret_conflict, -EEXIST: the name is taken by
 * something that is not ours; -EADDRNOTAVAIL: there is no address left. */
int app_furnish(const Places *p, const char *name, const Manifest *m, bool *ret_changed, bool *ret_renew,
                char **ret_conflict);
bool app_is_enabled(const char *name);

/* A file in a directory that others write to as well, with our mark: -EEXIST: there is one that is not ours. */
#define UNIT_FILE_SIZE_MAX (4U * 1024U * 1024U)
int app_write_marked(const char *path, const char *text);

/* Makes the version the current one, and says so in the catalogue. */
int app_activate(const Places *p, const char *name, const char *version, const Manifest *m);
/* As the catalogue should have it: writes only if it has not. */
int app_publish(const Places *p, const char *name, const char *version, const Manifest *m);
int app_withdraw(const Places *p, const char *name);

/* Removes the files of its units. 1: there were some. */
int app_remove_units(const char *name);

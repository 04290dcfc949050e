/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The array `mounts` of a manifest. What the host says of them is hostd's to ask. */

#include "manifest-reader.h"
#include "mount-path.h"

#define MOUNTS_MAX 32U

void mounts_free(MountSpec *mounts, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(mounts[i].host);
                free(mounts[i].file);
                free(mounts[i].at);
        }
        free(mounts);
}

/* NULL, or the path, which is no root and passes `reserved`. */
static const char *read_path(Reader *rd, const Place *at, json_object *value, const char *(*reserved)(const char *path),
                             const char *whose) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL, *own;

        if (!s || !mount_path_is_valid(s)) {
                reader_mismatch(rd, at, value, MOUNT_PATH_EXPECTED);
                return NULL;
        }
        own = reserved(s);
        if (!own)
                return s;
        reader_complain(rd, at, "found \"%.256s\", expected a path that neither is nor hides %s, %s", s, own, whose);
        return NULL;
}

static void read_host(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        MountSpec *m = target;
        const char *s = read_path(rd, at, value, mount_host_reserved, "which the host shows to no application");

        reader_source(rd, at, &m->file, &m->line);
        if (s && free_and_strdup(&m->host, s) < 0)
                rd->error = -ENOMEM;
}

static void read_at(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        const char *s = read_path(rd, at, value, mount_at_reserved, "which is the machine's own");

        if (s && free_and_strdup(&((MountSpec *) target)->at, s) < 0)
                rd->error = -ENOMEM;
}

static const Key mount_keys[] = {
        { "host", read_host, .expected = "a directory of the host's", .required = true },
        { "at", read_at, .expected = "where functions are to find it", .required = true },
        { "write", read_boolean, offsetof(MountSpec, write), .expected = "true or false" },
        {}
};

void read_mounts(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        Manifest *m = target;
        size_t n;

        if (!json_object_is_type(value, json_type_array)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        n = json_object_array_length(value);
        if (n > MOUNTS_MAX) {
                reader_complain(rd, at, "found %zu mounts, expected at most %u", n, MOUNTS_MAX);
                return;
        }
        m->mounts = calloc(n + 1, sizeof(MountSpec));
        if (!m->mounts) {
                rd->error = -ENOMEM;
                return;
        }
        m->n_mounts = n; /* one that is bad is empty */
        for (size_t i = 0; i < n; i++)
                read_object(rd, &(Place) { .parent = at, .index = i }, json_object_array_get_idx(value, i), mount_keys,
                            m->mounts + i);
}

/* One in another would need a mount point in a directory of the host's. */
void check_mounts(Reader *rd, const Manifest *m) {
        Place document = {}, mounts = { .parent = &document, .key = "mounts" };

        for (size_t i = 0; i < m->n_mounts; i++)
                for (size_t k = 0; k < i; k++) {
                        Place mount = { .parent = &mounts, .index = i }, at = { .parent = &mount, .key = "at" };
                        const char *a = m->mounts[i].at, *b = m->mounts[k].at;

                        if (!a || !b || (!mount_path_within(a, b) && !mount_path_within(b, a)))
                                continue;
                        reader_complain(rd, &at, "found \"%.256s\", which is or is within \"%.256s\" at /mounts/%zu/at, or the other "
                                        "way round, expected places apart from each other", a, b, k);
                        break;
                }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "version.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs.h"

#define RECORD_SIZE_MAX (64U * 1024U)
/* What is shorter is a number, though there may be no such version. */
#define HASH_BEGINNING_MIN 4

static void json_object_putp(json_object **o) {
        (void) json_object_put(*o);
}

/* ---- records ---- */

static void file_path(char path[static 256], const char *name, const char *bundle, const char *suffix) {
        (void) snprintf(path, 256, "%s/%s%s", name, bundle, suffix);
}

void version_record_done(VersionRecord *record) {
        free(record->source);
        *record = (VersionRecord) {};
}

static uint64_t get_uint(json_object *o, const char *key) {
        return json_object_get_uint64(json_object_object_get(o, key));
}

/* Of an earlier release: it was kept, so it has served. */
static int record_without_file(const Places *p, const char *name, const char *bundle, VersionRecord *ret) {
        struct stat st;
        char path[256];

        file_path(path, name, bundle, ".sha256");
        if (fstatat(p->apps_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        *ret = (VersionRecord) { .uid = UID_INVALID };
        ret->stored_usec = ret->deployed_usec = (uint64_t) st.st_mtim.tv_sec * USEC_PER_SEC;
        return 0;
}

int version_record_read(const Places *p, const char *name, const char *bundle, VersionRecord *ret) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(freep) char *text = NULL, *source = NULL;
        json_object *value;
        char path[256];
        int r;

        file_path(path, name, bundle, ".json");
        r = fs_read(p->apps_fd, path, RECORD_SIZE_MAX, &text);
        if (r == -ENOENT)
                return record_without_file(p, name, bundle, ret);
        if (r < 0)
                return r;
        o = json_tokener_parse(text);
        if (!json_object_is_type(o, json_type_object))
                return -EBADMSG;
        if (json_object_object_get_ex(o, "source", &value) && free_and_strdup(&source, json_object_get_string(value)) < 0)
                return -ENOMEM;
        *ret = (VersionRecord) {
                .stored_usec = get_uint(o, "stored_usec"),
                .deployed_usec = get_uint(o, "deployed_usec"),
                .rolled_back_usec = get_uint(o, "rolled_back_usec"),
                .uid = json_object_object_get_ex(o, "uid", &value) ? (uid_t) json_object_get_uint64(value) : UID_INVALID,
                .source = TAKE_PTR(source),
        };
        return 0;
}

static int add(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        (void) json_object_put(value);
        return -ENOMEM;
}

static int add_record(json_object *o, const VersionRecord *record) {
        const struct {
                const char *key;
                uint64_t usec;
        } times[] = {
                { "stored_usec", record->stored_usec },
                { "deployed_usec", record->deployed_usec },
                { "rolled_back_usec", record->rolled_back_usec },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(times); i++)
                if (times[i].usec > 0)
                        r = add(o, times[i].key, json_object_new_uint64(times[i].usec));
        if (r >= 0 && record->uid != UID_INVALID)
                r = add(o, "uid", json_object_new_uint64(record->uid));
        if (r >= 0 && record->source)
                r = add(o, "source", json_object_new_string(record->source));
        return r;
}

int version_record_write(const Places *p, const char *name, const char *bundle, const VersionRecord *record) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        const char *text;
        char path[256];
        int r;

        r = o ? add_record(o, record) : -ENOMEM;
        text = r < 0 ? NULL : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN|JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return -ENOMEM;
        file_path(path, name, bundle, ".json");
        r = fs_write(p->apps_fd, path, text, 0644, 0, 0);
        return r < 0 ? r : 0;
}

int version_record_new(const Places *p, const char *name, const char *bundle, uid_t uid, const char *source) {
        const VersionRecord record = { .stored_usec = now_realtime_usec(), .uid = uid, .source = (char *) source };

        return version_record_write(p, name, bundle, &record);
}

static uint64_t number_of(const char *version) {
        uint64_t n = 0;

        (void) version_is_valid(version, &n);
        return n;
}

static char *bundle_of(const char *version) {
        return strndup(version, version_bundle_length(version));
}

int version_note_deployed(const Places *p, const char *name, const char *version, const char *previous) {
        _cleanup_(version_record_done) VersionRecord now = {}, before = {};
        _cleanup_(freep) char *bundle = bundle_of(version), *left = previous ? bundle_of(previous) : NULL;
        int r;

        if (!bundle || (previous && !left))
                return -ENOMEM;
        r = version_record_read(p, name, bundle, &now);
        if (r >= 0 && (now.deployed_usec == 0 || now.rolled_back_usec > 0)) {
                now.rolled_back_usec = 0;
                now.deployed_usec = now.deployed_usec ?: now_realtime_usec();
                r = version_record_write(p, name, bundle, &now);
        }
        if (r < 0 || !left || number_of(left) <= number_of(bundle))
                return r;
        r = version_record_read(p, name, left, &before);
        if (r < 0)
                return r;
        before.rolled_back_usec = now_realtime_usec();
        return version_record_write(p, name, left, &before);
}

/* ---- all of an application ---- */

typedef struct Entry {
        char *bundle;
        VersionRecord record;
        bool current;
} Entry;

typedef struct Entries {
        Entry *items; /* oldest first */
        size_t n;
        char *current; /* with its overrides */
} Entries;

static void entries_done(Entries *e) {
        for (size_t i = 0; i < e->n; i++) {
                free(e->items[i].bundle);
                version_record_done(&e->items[i].record);
        }
        free(e->items);
        free(e->current);
        *e = (Entries) {};
}

static int entries_read(const Places *p, const char *name, Entries *ret) {
        _cleanup_(entries_done) Entries e = {};
        _cleanup_(strv_freep) char **all = NULL;
        int r;

        r = app_current(p, name, &e.current);
        if (r >= 0)
                r = app_versions(p, name, &all);
        if (r < 0)
                return r;
        e.items = calloc(strv_length(all) + 1, sizeof(Entry));
        if (!e.items)
                return -ENOMEM;
        for (char **i = all; *i; i++) {
                Entry *entry = e.items + e.n;
                size_t l = strlen(*i);

                r = version_record_read(p, name, *i, &entry->record);
                if (r < 0) /* that it cannot be read is no reason to take it for one that never served */
                        entry->record = (VersionRecord) { .uid = UID_INVALID, .deployed_usec = r == -ENOENT ? 0 : 1 };
                entry->bundle = strdup(*i);
                e.n++;
                if (!entry->bundle)
                        return -ENOMEM;
                entry->current = strncmp(e.current, *i, l) == 0 && version_bundle_length(e.current) == l;
        }
        *ret = e;
        e = (Entries) {};
        return 0;
}

static bool has_served(const Entry *e) {
        return e->current || e->record.deployed_usec > 0;
}

static const Entry *previous_of(const Entries *e) {
        const Entry *found = NULL;

        for (size_t i = 0; i < e->n && !e->items[i].current; i++)
                if (has_served(e->items + i) && e->items[i].record.rolled_back_usec == 0)
                        found = e->items + i;
        return found;
}

static int take_name(const Entry *e, char **ret) {
        char *copy = e ? strdup(e->bundle) : NULL;

        if (!copy)
                return e ? -ENOMEM : -ENOENT;
        *ret = copy;
        return 0;
}

int version_previous(const Places *p, const char *name, char **ret) {
        _cleanup_(entries_done) Entries e = {};
        int r;

        r = entries_read(p, name, &e);
        return r < 0 ? r : take_name(previous_of(&e), ret);
}

/* A number is a version's before it is the beginning of another's. */
static bool is_meant(const Entry *e, const char *wanted, bool number) {
        size_t digits = strcspn(e->bundle, "-");

        if (number)
                return strlen(wanted) == digits && strncmp(e->bundle, wanted, digits) == 0;
        return startswith(e->bundle, wanted) ||
                (strlen(wanted) >= HASH_BEGINNING_MIN && startswith(e->bundle + digits + 1, wanted));
}

int version_find(const Places *p, const char *name, const char *wanted, char **ret) {
        _cleanup_(freep) char *bundle = bundle_of(wanted); /* the overrides are those of now */
        _cleanup_(entries_done) Entries e = {};
        const Entry *found = NULL;
        int r;

        if (!bundle)
                return -ENOMEM;
        r = entries_read(p, name, &e);
        if (r < 0)
                return r;
        if (!*bundle)
                return -ENOENT;
        for (int number = 1; number >= 0 && !found; number--)
                for (size_t i = 0; i < e.n; i++)
                        if (has_served(e.items + i) && is_meant(e.items + i, bundle, number)) {
                                if (found)
                                        return -ENOTUNIQ;
                                found = e.items + i;
                        }
        return take_name(found, ret);
}

int version_names(const Places *p, const char *name, char **ret) {
        _cleanup_(entries_done) Entries e = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        r = entries_read(p, name, &e);
        if (r < 0)
                return r;
        for (size_t i = e.n; i-- > 0;) {
                char *longer;

                if (!has_served(e.items + i))
                        continue;
                if (asprintf(&longer, "%s%s%s%s", strempty(text), text ? ", " : "", e.items[i].bundle,
                             e.items[i].current ? " (current)" : "") < 0)
                        return -ENOMEM;
                free(text);
                text = longer;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static int add_entry(json_object *versions, const Entry *e, const char *previous) {
        json_object *o = json_object_new_object();
        int r;

        if (!o || json_object_array_add(versions, o) < 0) {
                (void) json_object_put(o);
                return -ENOMEM;
        }
        r = add(o, "version", json_object_new_string(e->bundle));
        if (r >= 0)
                r = add_record(o, &e->record);
        if (r >= 0)
                r = add(o, "current", json_object_new_boolean(e->current));
        return r < 0 ? r : add(o, "previous", json_object_new_boolean(previous && streq(e->bundle, previous)));
}

int version_list(const Places *p, const char *name, char **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(entries_done) Entries e = {};
        json_object *versions = json_object_new_array();
        const Entry *previous;
        const char *text;
        int r;

        r = entries_read(p, name, &e);
        if (r < 0 || !o) {
                (void) json_object_put(versions);
                return r < 0 ? r : -ENOMEM;
        }
        previous = previous_of(&e);
        r = add(o, "versions", versions);
        if (r >= 0)
                r = add(o, "name", json_object_new_string(name));
        if (r >= 0)
                r = add(o, "version", json_object_new_string(e.current));
        for (size_t i = e.n; r >= 0 && i-- > 0;)
                if (has_served(e.items + i))
                        r = add_entry(versions, e.items + i, previous ? previous->bundle : NULL);
        text = r < 0 ? NULL : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN|JSON_C_TO_STRING_NOSLASHESCAPE);
        *ret = text ? strdup(text) : NULL;
        return *ret ? 0 : -ENOMEM;
}

/* ---- what may go ---- */

int version_in_use(const char *state, char ***ret) {
        _cleanup_(json_object_putp) json_object *o = json_tokener_parse(state);
        _cleanup_(strv_freep) char **l = calloc(1, sizeof(char *));
        json_object *versions;
        int r = 0;

        if (!l)
                return -ENOMEM;
        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "versions", &versions) ||
            !json_object_is_type(versions, json_type_array))
                return -ENODATA;
        for (size_t i = 0; r >= 0 && i < json_object_array_length(versions); i++)
                r = strv_extend(&l, strempty(json_object_get_string(json_object_array_get_idx(versions, i))));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

static bool is_in_use(char *const *in_use, const char *bundle) {
        size_t l = strlen(bundle);

        for (char *const *i = in_use; i && *i; i++)
                if (strncmp(*i, bundle, l) == 0 && version_bundle_length(*i) == l)
                        return true;
        return false;
}

/* Overrides are read when a version is loaded, and at no other time. */
static int add_overrides(const Places *p, const char *name, const char *current, char ***l) {
        _cleanup_(strv_freep) char **all = NULL;
        int r;

        r = fs_list(p->apps_fd, name, &all);
        for (char **i = all; r >= 0 && i && *i; i++)
                if (version_is_valid(*i, NULL) && (*i)[version_bundle_length(*i)] && !streq(*i, current))
                        r = strv_extend(l, *i);
        return r;
}

int version_outdated(const Places *p, const char *name, unsigned keep, char *const *in_use, char ***ret) {
        _cleanup_(entries_done) Entries e = {};
        _cleanup_(strv_freep) char **l = NULL;
        const Entry *previous;
        size_t n = 0;
        int r;

        r = entries_read(p, name, &e);
        if (r < 0)
                return r;
        previous = previous_of(&e);
        for (size_t i = e.n; r >= 0 && i-- > 0;) {
                const Entry *entry = e.items + i;

                if (!has_served(entry) || (n++ >= keep && !entry->current && entry != previous && in_use &&
                                           !is_in_use(in_use, entry->bundle)))
                        r = strv_extend(&l, entry->bundle);
        }
        if (r >= 0)
                r = add_overrides(p, name, e.current, &l);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

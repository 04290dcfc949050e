/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "app.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "catalogue.h"
#include "fs.h"
#include "layers.h"
#include "machine-root.h"
#include "protocol.h"
#include "settings.h"
#include "uids.h"
#include "unit-files.h"

#define UIDS_SIZE_MAX (1024U * 1024U)
#define SUBIDS_SIZE_MAX (16U * 1024U * 1024U)

static const char *const pending_names[] = {
        [PENDING_DEPLOY] = "deploy",
        [PENDING_DEPLOY_KEEP_STATE] = "deploy keep-state",
        [PENDING_REMOVE] = "remove",
        [PENDING_REMOVE_KEEP_STATE] = "remove keep-state",
};

static int open_dir(const char *path, mode_t mode, int *ret) {
        int r = fs_mkdir(AT_FDCWD, path, mode, 0, 0);

        if (r < 0)
                return r;
        *ret = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return *ret < 0 ? -errno : 0;
}

/* systemd-tmpfiles gives it the group by which the gateway reads what is in it. */
static int open_tokens(int *ret) {
        if (mkdir(SAND_TOKENS_DIR, 0700) < 0 && errno != EEXIST)
                return -errno;
        *ret = open(SAND_TOKENS_DIR, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return *ret < 0 ? -errno : 0;
}

void places_done(Places *p) {
        safe_close(p->apps_fd);
        safe_close(p->state_fd);
        safe_close(p->catalogue_fd);
        safe_close(p->secrets_fd);
        safe_close(p->tokens_fd);
        safe_close(p->machines_fd);
        *p = PLACES_EMPTY;
}

int places_open(Places *ret) {
        _cleanup_(places_done) Places p = PLACES_EMPTY;
        int r;

        r = fs_mkdir(AT_FDCWD, SAND_STATE_DIR, 0755, 0, 0);
        if (r >= 0)
                r = open_dir(SAND_APPS_DIR, 0700, &p.apps_fd);
        if (r >= 0)
                r = open_dir(SAND_APP_STATE_DIR, 0700, &p.state_fd);
        if (r >= 0)
                r = open_dir(SAND_CATALOGUE_DIR, 0755, &p.catalogue_fd);
        if (r >= 0)
                r = open_dir(SAND_SECRETS_DIR, 0700, &p.secrets_fd);
        if (r >= 0)
                r = open_tokens(&p.tokens_fd);
        if (r < 0)
                return r;
        /* systemd's own, and 0700 there: whatever it is, is right. */
        p.machines_fd = open(MACHINES_DIR, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (p.machines_fd < 0)
                return -errno;
        *ret = p;
        p = PLACES_EMPTY;
        return 0;
}

/* "NAME/FILE" in a buffer of the caller's. */
typedef struct Path {
        char text[64 + NAME_MAX + 2];
} Path;

static const char *in_app(Path *path, const char *name, const char *file) {
        int n = snprintf(path->text, sizeof(path->text), "%s/%s", name, file);

        assert(n > 0 && (size_t) n < sizeof(path->text));
        return path->text;
}

bool app_exists(const Places *p, const char *name) {
        return fs_exists(p->apps_fd, name);
}

int app_list(const Places *p, char ***ret) {
        _cleanup_(strv_freep) char **all = NULL;
        size_t n = 0;
        int r;

        r = fs_list(p->apps_fd, ".", &all);
        if (r < 0)
                return r;
        for (char **i = all; *i; i++)
                if (app_name_is_valid(*i))
                        all[n++] = *i;
                else
                        free(*i);
        all[n] = NULL;
        *ret = TAKE_PTR(all);
        return 0;
}

static bool is_hex(const char *s, size_t n) {
        return strspn(s, "0123456789abcdef") == n;
}

/* "12-0123456789ab", perhaps with "+89abcdef" */
bool version_is_valid(const char *s, uint64_t *ret_number) {
        const char *plus = strchr(s, '+');
        char *end;
        uint64_t n;

        if (!isdigit((unsigned char) s[0]) || s[0] == '0')
                return false;
        errno = 0;
        n = strtoull(s, &end, 10);
        if (errno != 0 || n >= UINT32_MAX || *end != '-' || !is_hex(end + 1, VERSION_HASH_LENGTH) ||
            version_bundle_length(end + 1) != VERSION_HASH_LENGTH)
                return false;
        if (plus && (!is_hex(plus + 1, OVERRIDES_HASH_LENGTH) || plus[1 + OVERRIDES_HASH_LENGTH]))
                return false;
        if (ret_number)
                *ret_number = n;
        return true;
}

size_t version_bundle_length(const char *version) {
        return strcspn(version, "+");
}

static bool version_is_bundle(const char *s) {
        return version_is_valid(s, NULL) && !s[version_bundle_length(s)];
}

int app_current(const Places *p, const char *name, char **ret_version) {
        _cleanup_(freep) char *target = NULL;
        Path path;
        int r;

        r = fs_readlink(p->apps_fd, in_app(&path, name, "current"), &target);
        if (r < 0)
                return r;
        if (!version_is_valid(target, NULL) || !fs_exists(p->apps_fd, in_app(&path, name, target)))
                return -ENOENT;
        *ret_version = TAKE_PTR(target);
        return 0;
}

static const char *hash_path(Path *path, const char *name, const char *version) {
        char file[64];

        (void) snprintf(file, sizeof(file), "%.*s.sha256", (int) version_bundle_length(version), version);
        return in_app(path, name, file);
}

int app_hash(const Places *p, const char *name, const char *version, char **ret_hash) {
        _cleanup_(freep) char *text = NULL;
        Path path;
        int r;

        r = fs_read(p->apps_fd, hash_path(&path, name, version), BUNDLE_HASH_LENGTH + 1, &text);
        if (r < 0)
                return r;
        text[strcspn(text, "\n")] = 0;
        if (strlen(text) != BUNDLE_HASH_LENGTH)
                return -EBADMSG;
        *ret_hash = TAKE_PTR(text);
        return 0;
}

static int open_folder(const Places *p, const char *name, const char *folder) {
        Path path;
        int fd = openat(p->apps_fd, in_app(&path, name, folder), O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int app_open_bundle(const Places *p, const char *name, const char *version) {
        _cleanup_(freep) char *bundle = strndup(version, version_bundle_length(version));

        return bundle ? open_folder(p, name, bundle) : -ENOMEM;
}

int app_layers(const Places *p, const char *name, const char *version, Layers *ret) {
        _cleanup_(closep) int bundle_fd = app_open_bundle(p, name, version), overrides_fd = -EBADF;
        Problems problems = {};
        int r;

        if (bundle_fd < 0)
                return bundle_fd;
        if (version[version_bundle_length(version)]) {
                overrides_fd = open_folder(p, name, version);
                if (overrides_fd < 0)
                        return overrides_fd;
        }
        r = manifest_layers(bundle_fd, overrides_fd, name, &problems, ret);
        problems_done(&problems);
        return r;
}

int app_manifest(const Places *p, const char *name, const char *version, Manifest **ret) {
        _cleanup_(layers_done) Layers l = {};
        Problems problems = {};
        int r;

        r = app_layers(p, name, version, &l);
        if (r >= 0)
                r = manifest_from_layers(&l, -EBADF, &problems, ret);
        problems_done(&problems);
        return r;
}

static int compare_versions(const void *a, const void *b) {
        uint64_t x = 0, y = 0;

        (void) version_is_valid(*(char *const *) a, &x);
        (void) version_is_valid(*(char *const *) b, &y);
        return x < y ? -1 : x > y;
}

int app_versions(const Places *p, const char *name, char ***ret) {
        _cleanup_(strv_freep) char **all = NULL;
        size_t n = 0;
        int r;

        r = fs_list(p->apps_fd, name, &all);
        if (r < 0)
                return r;
        for (char **i = all; *i; i++)
                if (version_is_bundle(*i))
                        all[n++] = *i;
                else
                        free(*i);
        all[n] = NULL;
        qsort(all, n, sizeof(char *), compare_versions);
        *ret = TAKE_PTR(all);
        return 0;
}

Pending app_pending(const Places *p, const char *name) {
        _cleanup_(freep) char *text = NULL;
        Path path;

        if (fs_read(p->apps_fd, in_app(&path, name, "pending"), 256, &text) < 0)
                return PENDING_NONE;
        for (size_t i = PENDING_DEPLOY; i < ELEMENTSOF(pending_names); i++)
                if (streq(text, pending_names[i]))
                        return (Pending) i;
        return PENDING_DEPLOY; /* whatever it was, look at everything */
}

int app_set_pending(const Places *p, const char *name, Pending pending) {
        Path path;
        int r;

        in_app(&path, name, "pending");
        r = pending == PENDING_NONE ? fs_unlink(p->apps_fd, path.text)
                                    : fs_write(p->apps_fd, path.text, pending_names[pending], 0600, 0, 0);
        return r < 0 ? r : 0;
}

int app_next_version(const Places *p, const char *name, const char *hash, char **ret) {
        _cleanup_(strv_freep) char **all = NULL;
        uint64_t last = 0;
        size_t n;
        int r;

        r = app_versions(p, name, &all);
        if (r < 0)
                return r;
        n = strv_length(all);
        if (n > 0)
                (void) version_is_valid(all[n - 1], &last);
        return asprintf(ret, "%" PRIu64 "-%.*s", last + 1, VERSION_HASH_LENGTH, hash) < 0 ? -ENOMEM : 0;
}

int app_store(const Places *p, const char *name, const char *incoming, const char *hash, const char *version) {
        _cleanup_(freep) char *line = NULL;
        _cleanup_(closep) int app_fd = -EBADF;
        Path path;
        int r;

        app_fd = openat(p->apps_fd, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        if (app_fd < 0)
                return -errno;
        if (asprintf(&line, "%s\n", hash) < 0)
                return -ENOMEM;
        r = fs_write(p->apps_fd, hash_path(&path, name, version), line, 0644, 0, 0);
        if (r < 0)
                return r;
        if (renameat2(p->apps_fd, incoming, app_fd, version, RENAME_NOREPLACE) < 0)
                return -errno;
        return fs_sync_dir(app_fd);
}

int app_store_overrides(const Places *p, const char *name, const char *incoming, const char *version) {
        _cleanup_(closep) int app_fd = open_folder(p, name, ".");

        if (app_fd < 0)
                return app_fd;
        if (renameat2(p->apps_fd, incoming, app_fd, version, RENAME_NOREPLACE) < 0)
                return -errno;
        return fs_sync_dir(app_fd);
}

int app_uid_base(const Places *p, const char *name, uint32_t *ret) {
        _cleanup_(freep) char *text = NULL;
        Path path;
        int r;

        r = fs_read(p->apps_fd, in_app(&path, name, "uid-base"), 64, &text);
        return r < 0 ? r : uid_base_parse(text, ret);
}

int app_network_number(const Places *p, const char *name, unsigned *ret) {
        _cleanup_(freep) char *text = NULL;
        Path path;
        int r;

        r = fs_read(p->apps_fd, in_app(&path, name, SAND_NETWORK_NUMBER), 64, &text);
        return r < 0 ? r : network_number_parse(text, ret);
}

/* The lowest that no other application has; they are few enough to be looked through for each. */
static int find_number(const Places *p, unsigned last, unsigned *ret) {
        _cleanup_(strv_freep) char **apps = NULL;
        _cleanup_(freep) bool *taken = NULL;
        size_t n;
        int r;

        r = app_list(p, &apps);
        if (r < 0)
                return r;
        n = strv_length(apps) + 1; /* so many numbers are enough to have a free one */
        taken = calloc(n, sizeof(bool));
        if (!taken)
                return -ENOMEM;
        for (char **i = apps; *i; i++) {
                unsigned number;
                if (app_network_number(p, *i, &number) >= 0 && number - NETWORK_MACHINE_FIRST < n)
                        taken[number - NETWORK_MACHINE_FIRST] = true;
        }
        for (unsigned i = 0; i < n && NETWORK_MACHINE_FIRST + i <= last; i++)
                if (!taken[i]) {
                        *ret = NETWORK_MACHINE_FIRST + i;
                        return 0;
                }
        return -EADDRNOTAVAIL;
}

/* How large the network is; as it is set, if it has not been made yet. */
static int read_plan(NetworkPlan *ret) {
        _cleanup_(settings_done) Settings s = {};
        _cleanup_(freep) char *text = NULL;

        *ret = (NetworkPlan) { .length4 = 16 };
        if (fs_read(AT_FDCWD, SAND_NETWORK_FILE, NETWORK_TEXT_MAX, &text) >= 0 && network_plan_parse(text, ret) >= 0)
                return 1;
        if (settings_load(&s) != -ENOMEM && s.network4)
                (void) network_parse4(s.network4, ret);
        return 0;
}

/* The address that the application has, else a free one. */
static int take_address(const Places *p, const char *name, char **ret_conflict) {
        NetworkPlan plan;
        char text[32];
        unsigned number;
        Path path;
        int r;

        (void) read_plan(&plan);
        r = app_network_number(p, name, &number);
        if (r >= 0 && number <= network_machine_last(&plan))
                return 0;
        r = find_number(p, network_machine_last(&plan), &number);
        if (r == -EADDRNOTAVAIL)
                (void) asprintf(ret_conflict, "All %u addresses of the machines' network are taken: remove an application, or "
                                "set a larger Network= in hostd.conf.", network_machine_last(&plan) - NETWORK_MACHINE_FIRST + 1);
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%u\n", number);
        return fs_write(p->apps_fd, in_app(&path, name, SAND_NETWORK_NUMBER), text, 0644, 0, 0);
}

int app_network_identity(const Places *p, const char *name, NetworkIdentity *ret) {
        NetworkPlan plan;
        unsigned number;
        int r;

        if (read_plan(&plan) <= 0)
                return -ENOENT;
        r = app_network_number(p, name, &number);
        return r < 0 ? r : network_identity(&plan, number, ret);
}

/* Ranges that somebody owns files with: containers in /var/lib/machines, state that was kept. */
static int add_owners(UidRanges *l, int dir_fd) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = fs_list(dir_fd, ".", &names);
        if (r < 0)
                return r;
        for (char **i = names; *i; i++) {
                struct stat st;
                if (fstatat(dir_fd, *i, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid < UID_RANGE_SIZE)
                        continue;
                r = uid_ranges_add(l, st.st_uid & ~(UID_RANGE_SIZE - 1), UID_RANGE_SIZE);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int collect_used(const Places *p, UidRanges *l) {
        static const char *const tables[] = { "/etc/subuid", "/etc/subgid" };
        _cleanup_(strv_freep) char **apps = NULL, **locks = NULL;
        int r;

        r = app_list(p, &apps);
        for (char **i = apps; r >= 0 && i && *i; i++) {
                uint32_t base;
                if (app_uid_base(p, *i, &base) >= 0)
                        r = uid_ranges_add(l, base, UID_RANGE_SIZE);
        }
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(tables); i++) {
                _cleanup_(freep) char *text = NULL;
                if (fs_read(AT_FDCWD, tables[i], SUBIDS_SIZE_MAX, &text) >= 0)
                        r = uid_ranges_add_subids(l, text);
        }
        if (r >= 0)
                r = add_owners(l, p->machines_fd);
        if (r >= 0)
                r = add_owners(l, p->state_fd);
        /* What nspawn has picked for containers that run: a file each, named by its first uid. */
        if (r >= 0 && fs_list(AT_FDCWD, "/run/systemd/nspawn-uid", &locks) >= 0)
                for (char **i = locks; r >= 0 && *i; i++) {
                        uint32_t base;
                        if (uid_base_parse(*i, &base) >= 0)
                                r = uid_ranges_add(l, base, UID_RANGE_SIZE);
                }
        return r;
}

/* The range that the application has; else that of its state, if some was kept; else a free one. */
static int take_range(const Places *p, const char *name, uint32_t *ret) {
        _cleanup_(uid_ranges_done) UidRanges used = {};
        struct stat st;
        char text[32];
        Path path;
        int r;

        r = app_uid_base(p, name, ret);
        if (r != -ENOENT)
                return r;
        if (fstatat(p->state_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && uid_base_is_valid(st.st_uid))
                *ret = st.st_uid;
        else {
                r = collect_used(p, &used);
                if (r >= 0)
                        r = uid_ranges_find_free(&used, ret);
                if (r < 0)
                        return r;
        }
        (void) snprintf(text, sizeof(text), "%" PRIu32 "\n", *ret);
        return fs_write(p->apps_fd, in_app(&path, name, "uid-base"), text, 0644, 0, 0);
}

static int update_uids(const Places *p, const char *name, const Manifest *m, char **ret) {
        _cleanup_(freep) char *old = NULL, *text = NULL;
        Path path;
        int r;

        in_app(&path, name, "uids.json");
        r = fs_read(p->apps_fd, path.text, UIDS_SIZE_MAX, &old);
        if (r < 0 && r != -ENOENT)
                return r;
        r = function_uids_update(old, m, &text);
        if (r < 0)
                return r;
        r = fs_write(p->apps_fd, path.text, text, 0644, 0, 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}

int app_write_marked(const char *path, const char *text) {
        _cleanup_(freep) char *old = NULL;
        int r = fs_read(AT_FDCWD, path, UNIT_FILE_SIZE_MAX, &old);

        if (r != -ENOENT && (r < 0 || !startswith(old, UNIT_FILES_MARK)))
                return -EEXIST;
        return fs_write(AT_FDCWD, path, text, 0644, 0, 0);
}

static int write_nspawn(const char *name, const Manifest *m, uint32_t base, char *const *etc) {
        _cleanup_(freep) char *path = unit_nspawn_path(name), *text = NULL;
        int r;

        if (!path)
                return -ENOMEM;
        r = fs_mkdir(AT_FDCWD, NSPAWN_DIR, 0755, 0, 0);
        if (r >= 0)
                r = unit_files_nspawn(name, m, base, etc, &text);
        return r < 0 ? r : app_write_marked(path, text);
}

static int write_dropin(const char *name, const Manifest *m, uint32_t base) {
        _cleanup_(freep) char *dir = unit_dropin_dir(name), *path = unit_dropin_path(name), *text = NULL;
        int r;

        if (!dir || !path)
                return -ENOMEM;
        r = fs_mkdir(AT_FDCWD, dir, 0755, 0, 0);
        if (r >= 0)
                r = unit_files_dropin(name, m, base, &text);
        return r < 0 ? r : app_write_marked(path, text);
}

static int write_alias(const char *name) {
        _cleanup_(freep) char *path = unit_alias_path(name), *target = NULL, *service = unit_service_name(name);
        _cleanup_(freep) char *old = NULL;
        int r;

        if (!path || !service || asprintf(&target, UNIT_DIR "/%s", service) < 0)
                return -ENOMEM;
        r = fs_readlink(AT_FDCWD, path, &old);
        if (r != -ENOENT && (r < 0 || !streq(old, target)))
                return -EEXIST;
        return fs_symlink(target, AT_FDCWD, path);
}

/* Translates the -EEXIST of what is named by `path`, which is consumed. */
static int conflict(int r, char *path, char **ret_conflict) {
        if (r == -EEXIST && path)
                (void) asprintf(ret_conflict, "%s exists and does not belong to SAND.", path);
        free(path);
        return r;
}

static int write_units(const char *name, uint32_t base, char *const *etc, const Manifest *m, bool *ret_changed,
                       bool *ret_renew, char **ret_conflict) {
        int a, b;

        /* nspawn reads its file at each start; systemd need not know. */
        a = write_nspawn(name, m, base, etc);
        if (a < 0)
                return conflict(a, unit_nspawn_path(name), ret_conflict);
        if (a > 0)
                *ret_renew = true;
        a = write_dropin(name, m, base);
        if (a < 0)
                return conflict(a, unit_dropin_path(name), ret_conflict);
        b = write_alias(name);
        if (b < 0)
                return conflict(b, unit_alias_path(name), ret_conflict);
        if (a > 0 || b > 0)
                *ret_changed = true;
        return 0;
}

static char *machine_path(const char *name) {
        char *s;
        return asprintf(&s, MACHINES_DIR "/%s", name) < 0 ? NULL : s;
}

int app_furnish(const Places *p, const char *name, const Manifest *m, bool *ret_changed, bool *ret_renew,
                char **ret_conflict) {
        _cleanup_(strv_freep) char **etc = NULL;
        _cleanup_(freep) char *uids = NULL;
        uint32_t base;
        int r;

        r = machine_root_check(p->machines_fd, name);
        if (r < 0)
                return conflict(r, machine_path(name), ret_conflict);
        r = take_range(p, name, &base);
        if (r >= 0)
                r = update_uids(p, name, m, &uids);
        if (r >= 0 && m->network != NETWORK_NONE)
                r = take_address(p, name, ret_conflict);
        if (r >= 0)
                r = unit_files_etc(&etc);
        if (r >= 0)
                r = fs_mkdir(p->state_fd, name, 0770, base, base + SAND_APP_GID);
        if (r < 0)
                return r;
        r = machine_root_make(p->machines_fd, name, base, uids, etc, m->network != NETWORK_NONE);
        for (size_t i = 0; r >= 0 && i < m->n_mounts; i++)
                r = machine_root_add_directory(p->machines_fd, name, base, m->mounts[i].at);
        if (r < 0)
                return conflict(r, machine_path(name), ret_conflict);
        return write_units(name, base, etc, m, ret_changed, ret_renew, ret_conflict);
}

bool app_is_enabled(const char *name) {
        _cleanup_(freep) char *path = NULL;
        return asprintf(&path, UNIT_DIR "/sand.target.wants/sand-app@%s.socket", name) >= 0 &&
                fs_exists(AT_FDCWD, path);
}

static int publish(const Places *p, const char *name, const char *version, const Manifest *m) {
        _cleanup_(freep) char *hash = NULL;
        uint32_t base;
        int r;

        r = app_hash(p, name, version, &hash);
        if (r >= 0)
                r = app_uid_base(p, name, &base);
        return r < 0 ? r : catalogue_publish(p->catalogue_fd, m, name, version, hash, base);
}

int app_activate(const Places *p, const char *name, const char *version, const Manifest *m) {
        Path path;
        int r;

        r = fs_symlink(version, p->apps_fd, in_app(&path, name, "current"));
        return r < 0 ? r : publish(p, name, version, m);
}

int app_publish(const Places *p, const char *name, const char *version, const Manifest *m) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = NULL;

        if (catalogue_read(p->catalogue_fd, name, &e) >= 0 && streq(e->version, version))
                return 0;
        return publish(p, name, version, m);
}

int app_withdraw(const Places *p, const char *name) {
        int r = catalogue_withdraw(p->catalogue_fd, name);
        return r == -ENOENT ? 0 : r;
}

/* Only what carries our mark, or is our link. */
int app_remove_units(const char *name) {
        _cleanup_(freep) char *nspawn = unit_nspawn_path(name), *dir = unit_dropin_dir(name);
        _cleanup_(freep) char *dropin = unit_dropin_path(name), *alias = unit_alias_path(name);
        _cleanup_(freep) char *text = NULL, *target = NULL, *ours = NULL;
        int r, removed = 0;

        if (!nspawn || !dir || !dropin || !alias || asprintf(&ours, UNIT_DIR "/sand-app@%s.service", name) < 0)
                return -ENOMEM;
        if (fs_read(AT_FDCWD, nspawn, UIDS_SIZE_MAX, &text) >= 0 && startswith(text, UNIT_FILES_MARK)) {
                r = fs_unlink(AT_FDCWD, nspawn);
                if (r < 0)
                        return r;
        }
        r = fs_unlink(AT_FDCWD, dropin);
        if (r < 0)
                return r;
        removed |= r;
        (void) rmdir(dir); /* an operator's own drop-ins stay */
        if (fs_readlink(AT_FDCWD, alias, &target) >= 0 && streq(target, ours)) {
                r = fs_unlink(AT_FDCWD, alias);
                if (r < 0)
                        return r;
                removed |= r;
        }
        return removed;
}

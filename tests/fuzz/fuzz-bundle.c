/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes unpack, or are refused with at least one problem; nothing appears beside the directory, and what was
 * unpacked can be packed, and is the same bundle again when it is unpacked a second time. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "bundle.h"

#define INPUT_MAX (64 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static off_t total;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        total += st->st_size;
        return 0;
}

/* A few bytes may be a gigabyte of holes, which takes the fuzzer seconds to pack. */
static bool is_small(const char *path) {
        total = 0;
        return nftw(path, add_size, 64, FTW_PHYS) == 0 && total < 8 * 1024 * 1024;
}

static int make_directory(int parent, const char *name) {
        int fd;

        if (mkdirat(parent, name, 0700) < 0)
                abort();
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                abort();
        return fd;
}

static unsigned count_names(int dir_fd) {
        DIR *d = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        unsigned n = 0;

        if (!d)
                abort();
        while (readdir(d))
                n++;
        (void) closedir(d);
        return n;
}

/* Packs what was unpacked, unpacks that, and compares. */
static void repeat(int from, int to) {
        char hash[BUNDLE_HASH_LENGTH + 1], again[BUNDLE_HASH_LENGTH + 1];
        _cleanup_(closep) int fd = -EBADF;
        Problems problems = {};

        if (bundle_pack(from, &problems, &fd) < 0 || bundle_unpack(fd, to, &problems) < 0 ||
            bundle_hash(from, hash) < 0 || bundle_hash(to, again) < 0 || !streq(hash, again)) {
                char *report = problems_to_string(&problems);
                fprintf(stderr, "not the same bundle again: %s", report);
                abort();
        }
        problems_done(&problems);
}

/* No mutation would find a header's checksum (at 148, over the block with blanks in its place). */
static void fix_checksums(uint8_t *data, size_t size) {
        for (uint8_t *block = data; size >= 512; block += 512, size -= 512) {
                unsigned sum = 0;

                if (memcmp(block + 257, "ustar", 5) != 0)
                        continue;
                memset(block + 148, ' ', 8);
                for (size_t i = 0; i < 512; i++)
                        sum += block[i];
                (void) snprintf((char *) block + 148, 8, "%06o", sum);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t copy[INPUT_MAX];
        _cleanup_(closep) int input = -EBADF, parent = -EBADF, from = -EBADF, to = -EBADF;
        char path[] = "/tmp/fuzz-bundle.XXXXXX";
        Problems problems = {};
        int r;

        if (size > INPUT_MAX || !mkdtemp(path))
                return 0;
        parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        from = make_directory(parent, "from");
        to = make_directory(parent, "to");
        input = memfd_create("fuzz", MFD_CLOEXEC);
        memcpy(copy, data, size);
        fix_checksums(copy, size);
        if (parent < 0 || input < 0 || write(input, copy, size) != (ssize_t) size)
                abort();

        r = bundle_unpack(input, from, &problems);
        if ((r == -EBADMSG) != (problems.n > 0) || count_names(parent) != 4)
                abort();
        problems_done(&problems);
        if (r >= 0 && is_small(path))
                repeat(from, to);
        (void) nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who is who: each application has a range of 65,536 uids of the host until it is removed, each of its
 * functions a uid in it that stays with the function's name. Pure: what is in use is handed in. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"
#include "manifest.h"

#define UID_RANGE_SIZE UINT32_C(65536)

/* Within what systemd reserves for containers (UIDS-GIDS.md), and above what useradd hands out to users as
 * subordinate ids by default (SUB_UID_MAX of login.defs(5), 600100000). */
#define UID_RANGE_FIRST UINT32_C(0x28000000)
#define UID_RANGE_LAST UINT32_C(0x6fff0000)

typedef struct UidRange {
        uint32_t start;
        uint64_t size;
} UidRange;

typedef struct UidRanges {
        UidRange *items;
        size_t n;
} UidRanges;

int uid_ranges_add(UidRanges *l, uint32_t start, uint64_t size);
/* Adds what a text in the format of subuid(5) gives away. Lines that do not parse give away nothing. */
int uid_ranges_add_subids(UidRanges *l, const char *text);
void uid_ranges_done(UidRanges *l);

/* The lowest free range. -ENOSPC: none. */
int uid_ranges_find_free(const UidRanges *l, uint32_t *ret_base);
bool uid_base_is_valid(uint32_t base);
/* A decimal number, a line feed allowed behind it. -EINVAL. */
int uid_base_parse(const char *s, uint32_t *ret);

/* The text of uids.json for the manifest's functions: {"functions":{"resize":1001}}. Names that `old` (such a
 * text, or NULL) knows keep their number, also when the function is gone for now; a new one gets a number
 * that no name had. -ENOSPC: all are taken; -EBADMSG: `old` is none of ours. Caller frees. */
int function_uids_update(const char *old, const Manifest *m, char **ret);
/* Calls back for each name with its uid; stops at a negative result and returns it. */
int function_uids_foreach(const char *text, int (*callback)(const char *name, unsigned uid, void *userdata),
                          void *userdata);

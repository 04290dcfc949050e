/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sand-trigger tells a function: the pure part. */

#include <json-c/json.h>
#include <sys/stat.h>

#include "macro.h"
#include "protocol.h"

/* APP:FUNCTION, APP:FUNCTION:LABEL, or of a unit of an application's own APP:FUNCTION:timer-N or path-N. */
typedef struct TriggerName {
        char *app, *function;
        char *trigger; /* "timer-0"; NULL: none */
        char *source;  /* the unit, "sand-trigger-APP-0.timer"; NULL without `trigger` */
        bool path;     /* not a timer */
} TriggerName;

/* -EINVAL: it is no such thing. */
int trigger_name_parse(const char *s, TriggerName *ret);
void trigger_name_done(TriggerName *n);

typedef char *(*environment_t)(const char *name); /* getenv() */

/* What systemd.exec(5) says of the unit that set this one off: $MONITOR_*, $TRIGGER_*; {} if nothing. NULL: out of
 * memory. Caller puts it. */
json_object *trigger_unit_event(environment_t get);
/* The unit that set this one off, and what tells this start of ours from others; NULL: that is not said. */
const char *trigger_unit(environment_t get);
const char *trigger_invocation_id(environment_t get);
/* When the timer elapsed, CLOCK_REALTIME; 0: that is not said. */
uint64_t trigger_scheduled_usec(environment_t get);
/* Of a timer: `input` may be NULL, and stays the caller's. */
json_object *trigger_timer_event(json_object *input, uint64_t scheduled_usec, const char *unit);
/* Of a file in a directory that is `host` on the host and `machine` in the machine. */
json_object *trigger_file_event(const char *machine, const char *host, const char *name, const struct stat *st);

/* What tells a file in its present state from all others of its directory; it changes when the file is written to or
 * replaced. */
#define TRIGGER_KEY_SIZE (SAND_IDEMPOTENCY_KEY_MAX + 1)
void trigger_file_key(const char *name, const struct stat *st, char ret[static TRIGGER_KEY_SIZE]);

/* "2026-11-25T15:04:05Z", with microseconds if there are any. */
#define RFC3339_SIZE 40
void format_rfc3339(char buf[static RFC3339_SIZE], uint64_t usec);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading a JSON object by a table of its keys: each value goes to a checked place in a structure, each
 * mistake becomes a problem with its pointer and line, and reading goes on to find the others. */

#include "layers.h"
#include "manifest.h"

/* What is being read. The readers below return nothing: a mistake of the user's is `bad`, one of
 * ours or of the machine's is `error`, and whoever called all of them looks at both at the end. */
typedef struct Reader {
        const Layers *layers; /* the merged document, and where each value of it is written */
        Problems *problems;
        int dir_fd; /* the bundle, for those who check files; or -EBADF */
        bool bad;
        int error;
} Reader;

/* Where we are; on the stack, from the document down. A pointer is made of it only for a problem. */
typedef struct Place {
        const struct Place *parent; /* NULL: the document */
        const char *key;            /* NULL: an element of an array */
        size_t index;
} Place;

typedef struct Key Key;
typedef void (*read_value_t)(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);

struct Key {
        const char *name;
        read_value_t read;
        size_t offset;        /* of the field in the structure */
        uint64_t min, max;    /* of numbers, bytes and microseconds */
        const char *expected; /* for the message */
        bool required;
        const Key *keys;      /* of an object: its own table, for the same structure */
};

/* Adds a problem at `at`. */
void reader_complain(Reader *rd, const Place *at, const char *format, ...) _printf_(3, 4);
/* The file that says it, to be freed, and the line there. */
void reader_source(Reader *rd, const Place *at, char **ret_file, unsigned *ret_line);
/* "found `value`, expected `expected`" */
void reader_mismatch(Reader *rd, const Place *at, json_object *value, const char *expected);
/* A value in a few words, for a message: "the number 5", "\"abc\"", "an object". */
const char *describe_value(json_object *value, char buffer[static 128]);

/* `keys` ends with a key without a name. */
void read_object(Reader *rd, const Place *at, json_object *value, const Key *keys, void *target);

/* A string of at least one character and at most `max` bytes, else a problem and NULL. */
const char *reader_string(Reader *rd, const Place *at, json_object *value, size_t max, const char *expected);
/* An integer, also when it is written as 1.0 or 1e3. */
bool json_get_integer(json_object *value, uint64_t *ret);

/* Readers for tables. */
void read_unsigned(Reader *rd, const Place *at, json_object *value, const Key *key, void *target); /* unsigned */
void read_boolean(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);  /* bool */
void read_size(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);     /* uint64_t */
void read_span(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);     /* uint64_t */
void read_members(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);  /* key->keys */
void read_unserved(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void read_nothing(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);

/* Secrets of a function, and of all functions of an application. */
#define CREDENTIALS_MAX 64U

/* manifest-check.c: what cannot be said in a table. */
void read_environment(Reader *rd, const Place *at, json_object *value, const Key *key, void *target); /* char ** */
void read_credentials(Reader *rd, const Place *at, json_object *value, const Key *key, void *target); /* char ** */
void read_resources(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);   /* char ** */
void read_content_type(Reader *rd, const Place *at, json_object *value, const Key *key, void *target); /* char * */
void read_packages(Reader *rd, const Place *at, json_object *value, const Key *key, void *target); /* char ** */
void read_command(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);  /* char ** */
void read_handler(Reader *rd, const Place *at, json_object *value, FunctionSpec *spec);
/* manifest-trigger.c: Manifest; and what holds between triggers and functions, once all are read */
void read_triggers(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void check_triggers(Reader *rd, const Manifest *m); /* and finds the paths on the host */
void triggers_done(Manifest *m);
/* manifest-async.c: what becomes of asynchronous events, RetryPolicy, char * and char **. A function's `retry` is merged with the application's
 * when both are read. */
void read_retry(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void read_destination(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void read_allow(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void merge_retry(Reader *rd, const RetryPolicy *base, Manifest *m);
void check_destinations(Reader *rd, const Manifest *m);
/* manifest-mount.c: Manifest; and what holds between them */
void read_mounts(Reader *rd, const Place *at, json_object *value, const Key *key, void *target);
void check_mounts(Reader *rd, const Manifest *m);
void mounts_free(MountSpec *mounts, size_t n);
/* Adds `override`'s variables to `base`'s; the sum is bounded as each of them is. */
int environment_merge(Reader *rd, const Place *at, char *const *base, char *const *override, char ***ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is said to sand-globald, and how a person learns what it answered. */

#include "events-client.h"
#include "sandctl.h"

/* One call, whose failure is said after `failed`. 0 and the document, which the caller puts; or the exit status. */
int events_ask(const char *member, const PeerRequest *request, const char *failed, json_object **ret);

/* What the vocabulary's errors look like, in red, with their cause below. Returns the exit status. */
int print_error(SandError e, const char *class, const char *message, const char *cause, const char *bundle);
/* The bytes of a result on standard output. */
int print_bytes(const void *data, size_t size);

/* The event that --data, --file or standard input are; `argv` may have one word, "-". 0, or the exit status. */
int event_open(int argc, char **argv, int *ret_fd);
int event_read(int fd, char **ret, size_t *ret_size);

/* The event's file is here: what runs on another host gets it as standard input. */
int event_remote(const char *verb, int argc, char **argv, int fd);

/* 0, or the exit status of the complaint. */
int check_event_id(const char *id);

/* What Send and Emit answered: the id alone, for $(...). Returns the exit status. */
int print_id(json_object *o);

/* invoke --async and --wait. */
int invoke_async(const char *app, const char *function, const char *data, size_t size);
int invoke_wait(const char *id);
/* The options that go with neither, or with one of them alone: 0, or the exit status of the complaint. */
int check_async_options(void);

/* A string of a document; NULL: there is none. */
const char *document_string(json_object *o, const char *key);

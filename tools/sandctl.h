/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sandctl's files share: the arguments, the verbs, and how a failure is said. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "error.h"
#include "macro.h"
#include "manifest.h"
#include "sandctl-output.h"

extern JsonMode arg_json;
extern bool arg_no_pager, arg_quiet, arg_legend, arg_verbose, arg_follow, arg_keep_state, arg_ask_password,
        arg_apply, arg_revert, arg_stdin, arg_async, arg_wait, arg_all;
extern const char *arg_host, *arg_name, *arg_data, *arg_file, *arg_content_type, *arg_listen, *arg_lines,
        *arg_since, *arg_until, *arg_execution, *arg_output, *arg_credentials, *arg_runtime,
        *arg_drop_in, *arg_expires, *arg_delay, *arg_max_age, *arg_idempotency_key, *arg_callback,
        *arg_status, *arg_limit;
extern uint64_t arg_timeout_usec; /* USEC_INFINITY: none given */

/* A verb returns sandctl's exit status. `argv` are its own arguments, `argc` of them. */
int verb_build(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_dead_letter(int argc, char **argv);
int verb_deploy(int argc, char **argv);
int verb_edit(int argc, char **argv);
int verb_emit(int argc, char **argv);
int verb_execution(int argc, char **argv);
int verb_invoke(int argc, char **argv);
int verb_list(int argc, char **argv);
int verb_logs(int argc, char **argv);
int verb_new(int argc, char **argv);
int verb_remove(int argc, char **argv);
int verb_rollback(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_secret(int argc, char **argv);
int verb_shell(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_token(int argc, char **argv);
int verb_trigger(int argc, char **argv);
int verb_versions(int argc, char **argv);

/* The verbs of a noun, as in `sandctl secret list`; the first one is the default. */
typedef struct NounVerb {
        const char *name, *arguments;
        int min, max; /* arguments; max -1: any number */
        int (*run)(int argc, char **argv);
} NounVerb;

int noun_run(const char *noun, const NounVerb *verbs, size_t n_verbs, int argc, char **argv);

/* Say on stderr what failed; the result is the exit status that belongs to it. */
int fail(SandError e, const char *format, ...) _printf_(2, 3);
int fail_errno(int r, const char *format, ...) _printf_(2, 3);
/* One line "sandctl: ..." on stderr that --quiet suppresses. */
void say(const char *format, ...) _printf_(1, 2);
/* 0, or the exit status after the complaint that `name` is no application's name. */
int check_app_name(const char *name);

/* The words of the current verb's options, as they are given to sandctl on another host. */
int remote_arguments(char ***l);
/* Runs `sandctl VERB ARGUMENTS` on arg_host by ssh, with `input` as its standard input (-1: ours).
 * Returns its exit status. `terminal`: it gets one. */
int remote_run(const char *verb, int argc, char *const *argv, int input, bool terminal);

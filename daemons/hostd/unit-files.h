/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What systemd and nspawn are told about one application: the text of its .nspawn file and of the drop-in of
 * its service, and the names of its units. Pure but for unit_files_etc(). */

#include <stdint.h>

#include "manifest.h"

#define NSPAWN_DIR "/etc/systemd/nspawn"
#define UNIT_DIR "/etc/systemd/system"

/* A file for each machine that failed: how often in a row. */
#define FAILURES_DIR "/run/sand/failures"

/* First line of each file that hostd writes to a directory that is shared with others. */
#define UNIT_FILES_MARK "# Written by sand-hostd, which will overwrite it. To change something, add a file beside it."

/* Paths below /etc that programs break without, those that this host has; sorted, caller frees. */
int unit_files_etc(char ***ret);

/* The machine: `etc` is what to show of the host's /etc. */
int unit_files_nspawn(const char *name, const Manifest *m, uint32_t uid_base, char *const *etc, char **ret);
/* Resource limits, the network and the mounts that must be there, how long the longest function may take to end, the secrets that the
 * functions read. `name`: what it is deployed as. */
int unit_files_dropin(const char *name, const Manifest *m, uint32_t uid_base, char **ret);

/* Units of triggers, that start sand-invoke@NAME:FUNCTION:timer-N.service, or path-N by sand-watch@. */
int unit_files_timer(const char *name, const TimerTrigger *t, char **ret);
int unit_files_path(const char *name, const PathTrigger *t, char **ret);

/* All allocate: "sand-app@NAME.socket", ... */
char *unit_socket_name(const char *name);
char *unit_service_name(const char *name);
/* What `machinectl start NAME` starts: systemd-nspawn@NAME.service. */
char *unit_alias_name(const char *name);
/* "sand-trigger-NAME-N.timer", or .path; N is the trigger's place in the manifest. */
char *unit_trigger_name(const char *name, bool is_path, size_t index);
char *unit_nspawn_path(const char *name);
char *unit_dropin_dir(const char *name);
char *unit_dropin_path(const char *name);
char *unit_alias_path(const char *name);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sand-app@.service runs beside the machine: programs that may block. */

/* ExecReload=: the machine takes the version that is current; waits for the result. */
int oneshot_reload(const char *app);

/* ExecStopPost= of a machine that failed: sees to it that it can be started again, and waits longer each time. */
int oneshot_failed(const char *app);

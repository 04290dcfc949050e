/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "failure.h"

#include "macro.h"
#include "protocol.h"

int wire_reply_failure(Wire *wire, const WireMessage *call, const Failure *failure, const Usage *usage) {
        const SandErrorInfo *info = sand_error_info(failure->kind);
        const Usage none = {};
        WireWriter out;

        if (call->no_reply)
                return 0;
        if (!usage)
                usage = &none;
        wire_error(wire, &out, call, info->dbus_name, SAND_ERROR_FULL_SIGNATURE);
        wire_put_string(&out, strempty(failure->message));
        wire_put_string(&out, failure->error ?: info->name);
        wire_put_string(&out, strempty(failure->cause));
        wire_put_usage(&out, usage->wall_usec, usage->cpu_usec, usage->peak_bytes);
        return wire_send(wire, &out);
}

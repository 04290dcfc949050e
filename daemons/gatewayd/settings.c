/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include "conf.h"
#include "macro.h"

int settings_load(const char *file, Settings *ret) {
        Settings s = {
#define X(name, conf, type, field, value, least, most, expected) .field = (value),
                GATEWAY_SETTINGS(X)
#undef X
        };
        const ConfSetting table[] = {
#define X(name, conf, type, field, value, least, most, expected) \
        { "Gateway", name, conf, &s.field, (least), (most), expected },
                GATEWAY_SETTINGS(X)
#undef X
        };
        int r;

        r = file ? conf_load_file(file, table, ELEMENTSOF(table)) : conf_load("gatewayd.conf", table, ELEMENTSOF(table));
        if (r < 0 && r != -EBADMSG)
                return r;
        *ret = s;
        return r;
}

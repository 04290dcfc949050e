/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include "conf.h"

void settings_done(Settings *s) {
        free(s->callback_secret_file);
        *s = (Settings) {};
}

int settings_load(const char *file, Settings *ret) {
        _cleanup_(settings_done) Settings s = {
#define X(section, name, conf, type, field, value, least, most, expected) .field = (value),
                GLOBALD_SETTINGS(X)
#undef X
        };
        const ConfSetting table[] = {
#define X(section, name, conf, type, field, value, least, most, expected) \
        { section, name, conf, &s.field, (least), (most), expected },
                GLOBALD_SETTINGS(X)
#undef X
        };
        int r;

        r = file ? conf_load_file(file, table, ELEMENTSOF(table)) : conf_load("globald.conf", table, ELEMENTSOF(table));
        if (r < 0 && r != -EBADMSG)
                return r;
        *ret = s;
        s = (Settings) {};
        return r;
}

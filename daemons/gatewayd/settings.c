/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include "conf.h"

void settings_done(Settings *s) {
        free(s->tls_certificate);
        free(s->tls_key);
        *s = (Settings) {};
}

const char *settings_tls_certificate(const Settings *s) {
        return isempty(s->tls_certificate) ? TLS_CERTIFICATE_FILE : s->tls_certificate;
}

const char *settings_tls_key(const Settings *s) {
        return isempty(s->tls_key) ? TLS_KEY_FILE : s->tls_key;
}

int settings_load(const char *file, Settings *ret) {
        _cleanup_(settings_done) Settings s = {
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
        settings_done(ret);
        *ret = s;
        s = (Settings) {};
        return r;
}

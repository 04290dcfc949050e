/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Time spans and sizes as systemd reads them (systemd.time(7); systemd.resource-control(5), MemoryMax=):
 * what a user may write in a unit file may be written in sand.json, and means the same. */

#include <assert.h>

#include "manifest.h"

#define WHITESPACE " \t\n\r"

typedef struct Unit {
        const char *name;
        uint64_t factor;
} Unit;

#define USEC_PER_DAY (24 * USEC_PER_HOUR)

/* Of two names of which one begins the other, the longer comes first. */
static const Unit time_units[] = {
        { "seconds", USEC_PER_SEC },
        { "second",  USEC_PER_SEC },
        { "sec",     USEC_PER_SEC },
        { "s",       USEC_PER_SEC },
        { "minutes", USEC_PER_MINUTE },
        { "minute",  USEC_PER_MINUTE },
        { "min",     USEC_PER_MINUTE },
        { "months",  UINT64_C(2629800) * USEC_PER_SEC },
        { "month",   UINT64_C(2629800) * USEC_PER_SEC },
        { "msec",    USEC_PER_MSEC },
        { "ms",      USEC_PER_MSEC },
        { "m",       USEC_PER_MINUTE },
        { "M",       UINT64_C(2629800) * USEC_PER_SEC },
        { "hours",   USEC_PER_HOUR },
        { "hour",    USEC_PER_HOUR },
        { "hr",      USEC_PER_HOUR },
        { "h",       USEC_PER_HOUR },
        { "days",    USEC_PER_DAY },
        { "day",     USEC_PER_DAY },
        { "d",       USEC_PER_DAY },
        { "weeks",   7 * USEC_PER_DAY },
        { "week",    7 * USEC_PER_DAY },
        { "w",       7 * USEC_PER_DAY },
        { "years",   UINT64_C(31557600) * USEC_PER_SEC },
        { "year",    UINT64_C(31557600) * USEC_PER_SEC },
        { "y",       UINT64_C(31557600) * USEC_PER_SEC },
        { "usec",    1 },
        { "us",      1 },
        { "μs",      1 }, /* U+03BC */
        { "µs",      1 }, /* U+00B5 */
};

/* From large to small: in "1G 512M" each unit must be smaller than the one before it. */
static const Unit size_units[] = {
        { "E", UINT64_C(1) << 60 },
        { "P", UINT64_C(1) << 50 },
        { "T", UINT64_C(1) << 40 },
        { "G", UINT64_C(1) << 30 },
        { "M", UINT64_C(1) << 20 },
        { "K", UINT64_C(1) << 10 },
        { "B", 1 },
};

typedef struct Number {
        uint64_t whole;
        uint64_t fraction, divisor; /* the fraction is fraction/divisor, divisor a power of 10 */
} Number;

/* Reads "12", "1.5" or ".5" with an optional '+'; *p is then behind it. Digits beyond the 18th of the
 * fraction have no weight in any unit. */
static int parse_number(const char **p, Number *ret) {
        Number n = { .divisor = 1 };
        const char *s = *p;
        bool digits = false;

        if (*s == '-')
                return -ERANGE;
        if (*s == '+')
                s++;
        for (; *s >= '0' && *s <= '9'; s++) {
                if (__builtin_mul_overflow(n.whole, 10, &n.whole) ||
                    __builtin_add_overflow(n.whole, (uint64_t) (*s - '0'), &n.whole))
                        return -ERANGE;
                digits = true;
        }
        if (*s == '.') {
                if (s[1] < '0' || s[1] > '9' || s[-(s != *p)] == '+')
                        return -EINVAL;
                for (s++; *s >= '0' && *s <= '9'; s++)
                        if (n.divisor < UINT64_C(1000000000000000000)) {
                                n.fraction = n.fraction * 10 + (uint64_t) (*s - '0');
                                n.divisor *= 10;
                        }
                digits = true;
        }
        if (!digits)
                return -EINVAL;
        *p = s;
        *ret = n;
        return 0;
}

/* sum += n * factor, all below UINT64_MAX, which means infinity */
static int add_number(uint64_t *sum, const Number *n, uint64_t factor) {
        unsigned __int128 v;

        v = (unsigned __int128) n->whole * factor +
            (unsigned __int128) n->fraction * factor / n->divisor + *sum;
        if (v >= UINT64_MAX)
                return -ERANGE;
        *sum = (uint64_t) v;
        return 0;
}

static const Unit *take_unit(const char **p, const Unit *units, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const char *rest = startswith(*p, units[i].name);
                if (rest) {
                        *p = rest;
                        return units + i;
                }
        }
        return NULL;
}

int parse_time_span(const char *s, uint64_t *ret_usec) {
        uint64_t sum = 0;
        const char *p, *rest;

        assert(s);
        assert(ret_usec);

        p = s + strspn(s, WHITESPACE);
        rest = startswith(p, "infinity");
        if (rest && !rest[strspn(rest, WHITESPACE)]) {
                *ret_usec = USEC_INFINITY;
                return 0;
        }
        if (!*p)
                return -EINVAL;

        while (*p) {
                const Unit *unit;
                const char *end;
                Number n;
                int r;

                r = parse_number(&p, &n);
                if (r < 0)
                        return r;
                end = p;
                p += strspn(p, WHITESPACE);
                unit = take_unit(&p, time_units, ELEMENTSOF(time_units));
                if (p == end && *p) /* "12.34.56", "5x" */
                        return -EINVAL;
                r = add_number(&sum, &n, unit ? unit->factor : USEC_PER_SEC);
                if (r < 0)
                        return r;
                p += strspn(p, WHITESPACE);
        }
        *ret_usec = sum;
        return 0;
}

int parse_size(const char *s, uint64_t *ret_bytes) {
        uint64_t sum = 0;
        const char *p;
        size_t next = 0; /* units from here on may still come */

        assert(s);
        assert(ret_bytes);

        p = s + strspn(s, WHITESPACE);
        if (!*p)
                return -EINVAL;
        while (*p) {
                const Unit *unit = NULL;
                Number n;
                int r;

                r = parse_number(&p, &n);
                if (r < 0)
                        return r;
                p += strspn(p, WHITESPACE);
                if (*p) {
                        unit = take_unit(&p, size_units + next, ELEMENTSOF(size_units) - next);
                        if (!unit)
                                return -EINVAL;
                        next = (size_t) (unit - size_units) + 1;
                }
                r = add_number(&sum, &n, unit ? unit->factor : 1);
                if (r < 0)
                        return r;
                p += strspn(p, WHITESPACE);
        }
        *ret_bytes = sum;
        return 0;
}

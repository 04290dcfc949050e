/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The server's side of the authentication that precedes the messages, as
 * https://dbus.freedesktop.org/doc/dbus-specification.html#auth-protocol has it. Lines are taken as they come, in parts or
 * all at once; what a client may send before it is through is bounded in length and number, and time is its server's
 * to bound. Whoever could connect may speak: the socket's mode has decided, or the parent that passed it. A peer of
 * the host is the overflow uid inside a machine, so who it says it is would say nothing. */

#include "wire.h"

#include <assert.h>

#define LINE_SIZE_MAX 512U /* with its end; libdbus sends less than 100 bytes */
#define LINES_MAX 16U

#define MECHANISMS "REJECTED EXTERNAL ANONYMOUS\r\n"

typedef enum AuthState {
        AUTH_ZERO,    /* a byte of zero comes first, where some systems pass credentials */
        AUTH_CHOICE,  /* then the client names a mechanism, */
        AUTH_DATA,    /* says who it is, if it has not yet, */
        AUTH_OPTIONS, /* asks for descriptors, and begins */
} AuthState;

typedef struct Line {
        const char *text; /* what is left of it */
        size_t size;
} Line;

/* Whether the line's next word is this one, which is then taken off. */
static bool take_word(Line *l, const char *word) {
        size_t n = strlen(word);

        if (l->size < n || memcmp(l->text, word, n) != 0 || (l->size > n && l->text[n] != ' '))
                return false;
        n += l->size > n;
        l->text += n;
        l->size -= n;
        return true;
}

static bool is_hex(const Line *l) {
        for (size_t i = 0; i < l->size; i++)
                if (!strchr("0123456789abcdefABCDEF", l->text[i]) || !l->text[i])
                        return false;
        return l->size % 2 == 0;
}

static int answer(Wire *w, const char *line) {
        return wire_queue_lines(w, line, strlen(line));
}

static int reject(Wire *w) {
        w->auth_state = AUTH_CHOICE;
        return answer(w, MECHANISMS);
}

static int accept_client(Wire *w, const Line *identity) {
        char line[sizeof("OK \r\n") + WIRE_ID_LENGTH] = "OK ";

        if (!is_hex(identity))
                return reject(w);
        memcpy(line + 3, w->id, WIRE_ID_LENGTH);
        memcpy(line + 3 + WIRE_ID_LENGTH, "\r\n", 3);
        w->auth_state = AUTH_OPTIONS;
        return answer(w, line);
}

static int on_auth(Wire *w, Line *l) {
        if (take_word(l, "ANONYMOUS")) /* what follows, if anything, is for a log */
                return accept_client(w, l);
        if (!take_word(l, "EXTERNAL"))
                return reject(w);
        if (l->size > 0)
                return accept_client(w, l);
        w->auth_state = AUTH_DATA;
        return answer(w, "DATA\r\n");
}

/* One whole line without its end. 1: it was the last. */
static int on_line(Wire *w, Line *l) {
        AuthState state = w->auth_state;

        if (state == AUTH_CHOICE && take_word(l, "AUTH"))
                return on_auth(w, l);
        if (state == AUTH_DATA && take_word(l, "DATA"))
                return accept_client(w, l);
        if (state == AUTH_OPTIONS && take_word(l, "NEGOTIATE_UNIX_FD")) {
                w->no_fds = false;
                return answer(w, "AGREE_UNIX_FD\r\n");
        }
        if (take_word(l, "BEGIN"))
                return state == AUTH_OPTIONS ? 1 : -EBADMSG;
        if (state != AUTH_CHOICE && (take_word(l, "CANCEL") || take_word(l, "ERROR"))) {
                w->no_fds = true;
                return reject(w);
        }
        return answer(w, "ERROR\r\n");
}

/* The next line; false: it is not all there. */
static bool next_line(Wire *w, Line *ret) {
        const char *text, *end;

        if (w->size == 0)
                return false;
        text = (const char *) w->buffer + w->position;
        end = memmem(text, MIN(w->size, (size_t) LINE_SIZE_MAX), "\r\n", 2);
        if (!end)
                return false;
        *ret = (Line) { text, (size_t) (end - text) };
        w->position += ret->size + 2;
        w->size -= ret->size + 2;
        return true;
}

static int authenticate(Wire *w) {
        Line line;
        int r = 0;

        if (w->auth_state == AUTH_ZERO && w->size > 0) {
                if (w->buffer[w->position] != 0)
                        return -EBADMSG;
                w->position++;
                w->size--;
                w->auth_state = AUTH_CHOICE;
        }
        while (r == 0 && w->auth_state != AUTH_ZERO && next_line(w, &line)) {
                if (++w->n_auth_lines > LINES_MAX)
                        return -EBADMSG;
                r = on_line(w, &line);
        }
        if (r < 0)
                return r;
        if (r > 0) {
                w->answered = true;
                return w->no_fds && w->n_fds > 0 ? -EBADMSG : 1;
        }
        /* A descriptor comes with a message, and that after the authentication, if perhaps together with it. */
        if (w->size >= LINE_SIZE_MAX || w->n_fds > 0)
                return -EBADMSG;
        return wire_flush(w); /* it waits for what we said */
}

void wire_init_server(Wire *w, int fd, const char *id, void (*on_queued)(Wire *w)) {
        assert(strlen(id) == WIRE_ID_LENGTH);

        wire_init(w, fd);
        w->nonblocking = true;
        w->no_fds = true;
        w->authenticate = authenticate;
        w->id = id;
        w->auth_state = AUTH_ZERO;
        w->n_auth_lines = 0;
        w->on_queued = on_queued;
}

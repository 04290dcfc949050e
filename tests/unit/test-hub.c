/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../../daemons/supervisord/hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "macro.h"

/* Messages that never stop coming, and others that are always ready. */

typedef struct Fixture {
        sd_event *event;
        Hub *hub;
        HubSource *message;
        sd_event_source *behind[2];
        int fd;
        unsigned n_messages, n_turns, n_behind[2];
} Fixture;

static void on_message(uint32_t revents, void *userdata) {
        Fixture *f = userdata;

        f->n_messages++;
}

static void after_turn(void *userdata) {
        Fixture *f = userdata;

        f->n_turns++;
}

static int on_behind(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        unsigned *n = userdata;

        (*n)++;
        return 0;
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        f->fd = eventfd(1, EFD_CLOEXEC);
        assert_true(f->fd >= 0);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(hub_new(f->event, after_turn, f, &f->hub), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        f->message = hub_remove(f->message);
        for (size_t i = 0; i < ELEMENTSOF(f->behind); i++)
                sd_event_source_disable_unref(f->behind[i]);
        hub_free(f->hub);
        sd_event_unref(f->event);
        safe_close(f->fd);
        free(f);
        return 0;
}

static void add_behind(Fixture *f, size_t i) {
        int fd = dup(f->fd); /* the loop takes a descriptor once */

        assert_true(fd >= 0);
        assert_true(sd_event_add_io(f->event, &f->behind[i], fd, EPOLLIN, on_behind, &f->n_behind[i]) >= 0);
        assert_true(sd_event_source_set_io_fd_own(f->behind[i], true) >= 0);
        assert_true(sd_event_source_set_priority(f->behind[i], HUB_BEHIND_PRIORITY) >= 0);
}

static void run(Fixture *f, unsigned iterations) {
        for (unsigned i = 0; i < iterations; i++)
                assert_true(sd_event_run(f->event, 0) >= 0);
}

static void test_messages_come_first(void **state) {
        Fixture *f = *state;

        add_behind(f, 0);
        assert_int_equal(hub_add(f->hub, f->fd, on_message, f, &f->message), 0);
        run(f, HUB_TURNS_MAX / 2);
        assert_int_equal(f->n_turns, HUB_TURNS_MAX / 2);
        assert_int_equal(f->n_messages, f->n_turns);
        assert_int_equal(f->n_behind[0], 0);
}

static void test_the_others_have_their_turn(void **state) {
        Fixture *f = *state;

        add_behind(f, 0);
        add_behind(f, 1);
        assert_int_equal(hub_add(f->hub, f->fd, on_message, f, &f->message), 0);
        run(f, 20 * (HUB_TURNS_MAX + 2));
        for (size_t i = 0; i < ELEMENTSOF(f->n_behind); i++)
                assert_in_range(f->n_behind[i], 18, 22);
        assert_in_range(f->n_turns, 19 * HUB_TURNS_MAX, 21 * HUB_TURNS_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_messages_come_first, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_others_have_their_turn, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Native functions for test-worker.c: each does one thing that a function may do, or should not. */

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sand/function.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int echo(sand_context *c, const void *event, size_t size);
int echo_tail(sand_context *c, const void *event, size_t size);
int fails(sand_context *c, const void *event, size_t size);
int fails_plainly(sand_context *c, const void *event, size_t size);
int returns_three(sand_context *c, const void *event, size_t size);
int bad_text(sand_context *c, const void *event, size_t size);
int silent(sand_context *c, const void *event, size_t size);
int zeroes(sand_context *c, const void *event, size_t size);
int too_large(sand_context *c, const void *event, size_t size);
int eats_memory(sand_context *c, const void *event, size_t size);
int crashes(sand_context *c, const void *event, size_t size);
int about(sand_context *c, const void *event, size_t size);
int prints(sand_context *c, const void *event, size_t size);
int calls(sand_context *c, const void *event, size_t size);
int sends(sand_context *c, const void *event, size_t size);
int process(sand_context *c, const void *event, size_t size);
int fork_handlers(sand_context *c, const void *event, size_t size);
int whose_sdk(sand_context *c, const void *event, size_t size);

int echo(sand_context *c, const void *event, size_t size) {
        int r = *sand_content_type(c) ? sand_reply_content_type(c, sand_content_type(c)) : 0;

        return r < 0 ? r : sand_reply(c, event, size);
}

/* All but the first byte. */
int echo_tail(sand_context *c, const void *event, size_t size) {
        return sand_reply(c, (const char *) event + 1, size - 1);
}

int fails(sand_context *c, const void *event, size_t size) {
        return sand_fail(c, "NoSuchPhoto", "photo %d is not there", 7);
}

int fails_plainly(sand_context *c, const void *event, size_t size) {
        return -EACCES;
}

int returns_three(sand_context *c, const void *event, size_t size) {
        return 3;
}

int bad_text(sand_context *c, const void *event, size_t size) {
        return sand_fail(c, "Latin", "caf\xe9 \xc3\xa9");
}

int silent(sand_context *c, const void *event, size_t size) {
        return 0;
}

/* As many bytes as the event says in decimal. */
int zeroes(sand_context *c, const void *event, size_t size) {
        char text[32] = "";
        void *data;
        size_t n;
        int r;

        memcpy(text, event, size < sizeof(text) ? size : sizeof(text) - 1);
        n = strtoul(text, NULL, 10);
        data = calloc(1, n);
        if (!data)
                return -ENOMEM;
        r = sand_reply(c, data, n);
        free(data);
        return r;
}

/* Does not look at what sand_reply() says. */
int too_large(sand_context *c, const void *event, size_t size) {
        (void) zeroes(c, event, size);
        return 0;
}

int eats_memory(sand_context *c, const void *event, size_t size) {
        for (;;) {
                void *p = malloc(1 << 20);
                if (!p)
                        return -ENOMEM;
                memset(p, 1, 1 << 20);
        }
}

int crashes(sand_context *c, const void *event, size_t size) {
        abort();
}

int about(sand_context *c, const void *event, size_t size) {
        char text[1024];

        (void) snprintf(text, sizeof(text), "%s %s %s %s %s %s %s %s %d %s %s", sand_app(c), sand_function_name(c),
                        sand_version(c), sand_execution_id(c), sand_invocation_id(c), sand_content_type(c),
                        sand_header(c, "caller"), getenv("SAND_EXECUTION"),
                        sand_remaining_usec(c) > 0 && sand_remaining_usec(c) < 60 * 1000000UL,
                        getenv("SAND_MEMORY") || getenv("NOTIFY_SOCKET") ? "dirty" : "clean",
                        sand_header(c, "none") ? "some" : "none");
        return sand_reply(c, text, strlen(text));
}

int prints(sand_context *c, const void *event, size_t size) {
        printf("unfinished");
        sand_log(c, 3, "two\nlines");
        return 0;
}

int calls(sand_context *c, const void *event, size_t size) {
        sand_result *result = NULL;
        char text[512];
        int r;

        r = sand_call(c, "other", event, size, &result);
        if (r < 0 && r != -EREMOTEIO)
                return r;
        if (r == 0)
                r = sand_reply(c, sand_result_data(result), sand_result_size(result));
        else {
                (void) snprintf(text, sizeof(text), "%s|%s|%s", sand_result_error(result),
                                sand_result_message(result), sand_last_error(c));
                r = sand_reply(c, text, strlen(text));
        }
        sand_result_free(result);
        return r;
}

int sends(sand_context *c, const void *event, size_t size) {
        int r = sand_send(c, "other", event, size);

        return r < 0 ? sand_fail(c, "NotSent", "%s", sand_last_error(c)) : 0;
}

/* What the process is like. */
int process(sand_context *c, const void *event, size_t size) {
        pthread_mutexattr_t attributes;
        pthread_mutex_t recursive;
        struct rlimit limit;
        char text[256];

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&recursive, &attributes);
        pthread_mutex_lock(&recursive);
        if (getrlimit(RLIMIT_DATA, &limit) < 0)
                return -errno;
        /* libc keeps the owner's thread id in the lock: is it ours? */
        (void) snprintf(text, sizeof(text), "%d %d %lu", getsid(0) == getpid(),
                        recursive.__data.__owner == gettid(), (unsigned long) limit.rlim_cur);
        return sand_reply(c, text, strlen(text));
}

static int prepared, in_child;

static void on_prepare(void) {
        prepared++;
}

static void on_child(void) {
        in_child++;
}

__attribute__((constructor)) static void set_up(void) {
        (void) pthread_atfork(on_prepare, NULL, on_child);
}

int fork_handlers(sand_context *c, const void *event, size_t size) {
        char text[32];

        (void) snprintf(text, sizeof(text), "%d %d", prepared, in_child);
        return sand_reply(c, text, strlen(text));
}

/* The program that has sand_reply(), and how many mappings are of a libsand. */
int whose_sdk(sand_context *c, const void *event, size_t size) {
        char line[512], text[512];
        unsigned n = 0;
        Dl_info info;
        FILE *f;

        if (!dladdr((void *) sand_reply, &info))
                return -ESRCH;
        f = fopen("/proc/self/maps", "re");
        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f))
                n += strstr(line, "/libsand.so") != NULL;
        (void) fclose(f);
        (void) snprintf(text, sizeof(text), "%s %u", basename(info.dli_fname), n);
        return sand_reply(c, text, strlen(text));
}

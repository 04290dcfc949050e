/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Greets whoever the event names: curl -d Ada http://localhost:8080/invoke/hello-c/hello */

#include <sand/function.h>
#include <stdio.h>

int hello(sand_context *context, const void *event, size_t size) {
        char greeting[256];
        int length;

        if (size > 200)
                return sand_fail(context, "NameTooLong", "A name of %zu bytes is too long, 200 is the most", size);

        length = size > 0 ? snprintf(greeting, sizeof(greeting), "Hello, %.*s!\n", (int) size, (const char *) event)
                          : snprintf(greeting, sizeof(greeting), "Hello, world!\n");
        return sand_reply(context, greeting, (size_t) length);
}

/* The same for a browser, at http://localhost:8080/web/hello-c/: the event is the request as JSON, the answer likewise
 * (AWS Lambda's HTTP payload format 2.0). */
int page(sand_context *context, const void *event, size_t size) {
        static const char answer[] =
                "{\"statusCode\": 200, \"headers\": {\"Content-Type\": \"text/html; charset=utf-8\"},"
                " \"body\": \"<!DOCTYPE html>\\n<title>Hello</title>\\n<h1>Hello, world!</h1>\\n\"}";

        return sand_reply(context, answer, sizeof(answer) - 1);
}

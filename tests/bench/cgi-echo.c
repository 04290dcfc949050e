/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The echo function as a CGI program. */

#include <stdio.h>
#include <stdlib.h>

int main(void) {
        static char body[128 * 1024];
        size_t n = fread(body, 1, sizeof(body), stdin);

        printf("Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", n);
        return fwrite(body, 1, n, stdout) == n ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Says whether the event is the secret "token", byte for byte: curl -H 'Content-Type: text/plain' -d guess
 * http://localhost:8080/invoke/hello-secret/c */

#include <sand/function.h>
#include <stdio.h>
#include <stdlib.h>

int check(sand_context *context, const void *event, size_t size) {
        const unsigned char *guess = event;
        unsigned char token[4096];
        char path[4096];
        unsigned differs;
        size_t length;
        FILE *f;

        /* Read for each event: it may have been set anew. */
        snprintf(path, sizeof(path), "%s/token", getenv("CREDENTIALS_DIRECTORY"));
        f = fopen(path, "re");
        if (!f)
                return sand_fail(context, "NoToken", "There is no token");
        length = fread(token, 1, sizeof(token), f);
        fclose(f);

        /* How long this takes does not tell how much of it is right. */
        differs = length != size;
        for (size_t i = 0; i < length && i < size; i++)
                differs |= token[i] ^ guess[i];
        return differs ? sand_reply(context, "false", 5) : sand_reply(context, "true", 4);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parser's verdict on each file of the command line, for a comparison with the JSON schema's:
 * "FILE: good", or "FILE: bad" and its problems, indented. */

#include <stdio.h>

#include "manifest.h"

static int read_file(const char *path, char **ret, size_t *ret_size) {
        char buffer[65536], *text = NULL;
        size_t size = 0, n;
        FILE *in = fopen(path, "re"), *out;

        if (!in)
                return -errno;
        out = open_memstream(&text, &size);
        while (out && (n = fread(buffer, 1, sizeof(buffer), in)) > 0)
                (void) fwrite(buffer, 1, n, out);
        (void) fclose(in);
        if (!out || fclose(out) != 0)
                return -ENOMEM;
        *ret = text;
        *ret_size = size;
        return 0;
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++) {
                _cleanup_(freep) char *text = NULL, *report = NULL;
                _cleanup_(manifest_freep) Manifest *m = NULL;
                Problems problems = {};
                size_t size;
                int r;

                r = read_file(argv[i], &text, &size);
                if (r >= 0)
                        r = manifest_parse("sand.json", text, size, &problems, &m);
                if (r < 0 && r != -EBADMSG) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return EXIT_FAILURE;
                }
                printf("%s: %s\n", argv[i], r < 0 ? "bad" : "good");
                report = problems_to_string(&problems);
                for (char *line = report, *end; line && (end = strchr(line, '\n')); line = end + 1)
                        printf("\t%.*s\n", (int) (end - line), line);
                problems_done(&problems);
        }
        return EXIT_SUCCESS;
}

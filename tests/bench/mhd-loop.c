/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* mhd-loop PORT BYTES: libmicrohttpd in an sd-event loop, set up as in the gateway, which answers each request with as many
 * bytes as were asked for and does nothing else: what HTTP alone costs there. */

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "macro.h"
#include "stat.h"

#define HEADER_BYTES_MAX (32U * 1024U)
#define CONNECTIONS_MAX 65536U

static char *answer;
static size_t answer_size;

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **context) {
        struct MHD_Response *response;
        enum MHD_Result r;

        if (!*context) {
                *context = userdata;
                return MHD_YES;
        }
        if (*size > 0) {
                *size = 0;
                return MHD_YES;
        }
        response = MHD_create_response_from_buffer(answer_size, answer, MHD_RESPMEM_PERSISTENT);
        if (!response)
                return MHD_NO;
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/octet-stream");
        (void) MHD_add_response_header(response, "Sand-Execution", "0123456789abcdef0123456789abcdef");
        (void) MHD_add_response_header(response, "Server-Timing", "run;dur=0.001");
        r = MHD_queue_response(connection, MHD_HTTP_OK, response);
        MHD_destroy_response(response);
        return r;
}

static int on_epoll(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        (void) MHD_run(userdata);
        return 0;
}

int main(int argc, char *argv[]) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        const union MHD_DaemonInfo *info;
        struct MHD_Daemon *daemon;
        sd_event *event = NULL;
        int r;

        if (argc != 3) {
                fprintf(stderr, "usage: mhd-loop PORT BYTES\n");
                return EXIT_FAILURE;
        }
        address.sin_port = htons((uint16_t) parse_number("PORT", argv[1], 1, UINT16_MAX));
        answer_size = (size_t) parse_number("BYTES", argv[2], 0, 100000000);
        answer = calloc(1, answer_size + 1);
        daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, &address,
                                  MHD_OPTION_SOCK_ADDR, &address,
                                  MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                                  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HEADER_BYTES_MAX,
                                  MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                  MHD_OPTION_END);
        info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                die("libmicrohttpd", errno);
        r = sd_event_new(&event);
        if (r >= 0)
                r = sd_event_add_io(event, NULL, info->epoll_fd, EPOLLIN, on_epoll, daemon);
        if (r >= 0)
                r = sd_event_loop(event);
        die("the loop", r);
}

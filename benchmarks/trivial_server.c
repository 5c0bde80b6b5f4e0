/* The cheapest server that a load generator can be measured against: it answers each request as the API would answer a
 * success, counts them, and stalls when told. It waits for the rest of a request that came in pieces. A load test that
 * asks is told that this is a sandbox; that request is not counted.
 *
 * cc -O2 -o trivial_server trivial_server.c; ./trivial_server [stall_ms every_ms]
 * Prints its port, and at its end (SIGTERM) how many requests it answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s"

static volatile sig_atomic_t ended;
static unsigned long long answered;

static void end(int sig) { (void)sig; ended = 1; }

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int is_whole(const char *request, ssize_t got) {
    const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\nContent-Length:");
    return end && got >= end + 4 - request + (length && length < end ? atol(length + 17) : 0);
}

static void answer(int client) {
    char request[65536], body[64], reply[256];
    ssize_t got = 0;
    do {
        ssize_t more = recv(client, request + got, sizeof request - 1 - got, 0);
        if (more <= 0) { close(client); return; }
        request[got += more] = 0;
    } while (!is_whole(request, got));
    int asks_state = !strncmp(request, "GET /sandbox/state ", 19);
    answered += !asks_state;
    if (asks_state)
        strcpy(body, "{\"sandbox\":true}");
    else if (!strncmp(request, "POST /v1/codes ", 15))
        snprintf(body, sizeof body, "{\"msg_id\":\"%llu\"}", answered);
    else
        strcpy(body, "{\"is_valid\":true}");
    int length = snprintf(reply, sizeof reply, HEAD, strlen(body), body);
    if (send(client, reply, length, MSG_NOSIGNAL) != length) close(client);
}

int main(int argc, char **argv) {
    long long stall_ms = argc > 2 ? atoll(argv[1]) : 0, every_ms = argc > 2 ? atoll(argv[2]) : 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    long long next_stall_ms = now_ms() + every_ms;
    while (!ended) {
        int count = epoll_wait(epoll, ready, 256, every_ms ? 1 : 1000);
        if (every_ms && now_ms() >= next_stall_ms) {
            usleep(stall_ms * 1000);
            next_stall_ms += every_ms;
        }
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd != listener) { answer(ready[i].data.fd); continue; }
            int client;
            while ((client = accept4(listener, NULL, NULL, 0)) >= 0) {
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = client;
                epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
            }
        }
    }
    printf("%llu\n", answered);
    return 0;
}

/* A closed-loop HTTP load generator that costs the server's machine little: one thread, epoll, prepared requests.
 *
 *   load HOST PORT CONNECTIONS SECONDS REQUESTS MARK
 *
 * REQUESTS is a file of records, each a 32-bit length in this machine's byte order and that many bytes of one HTTP/1.1
 * request. Every request is sent once. Each connection sends its next one when the last was answered; after SECONDS no
 * more are sent, and those on their way are waited for. An answer counts as good when its status is 200 and its body
 * holds MARK.
 *
 * Prints one line of JSON: answered, good, bad, broken (connections that ended early), exhausted (REQUESTS were too
 * few), seconds (first request sent to last answer), and of the good answers' times p50_ms, p99_ms and max_ms.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 16384, EVENTS = 256, PATIENCE_MS = 30000 };

typedef struct {
    int socket;
    const char *unsent;
    size_t unsent_bytes;
    bool waits_to_send;
    uint64_t sent_at;
    size_t got;
    char answer[ANSWER_BYTES + 1];
} Connection;

static const char *next_record, *records_end;
static uint64_t *times;
static size_t good, bad, broken, open_requests;
static bool exhausted;
static uint64_t deadline;
static const char *mark;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * 1000000000u + (uint64_t)moment.tv_nsec;
}

static void watch(int epoll, Connection *connection, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, how, connection->socket, &event) != 0) die("epoll_ctl");
}

static void end(Connection *connection) {
    close(connection->socket);
    connection->socket = -1;
    open_requests--;
}

static void flush(int epoll, Connection *connection) {
    while (connection->unsent_bytes > 0) {
        ssize_t sent = send(connection->socket, connection->unsent, connection->unsent_bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if (!connection->waits_to_send) watch(epoll, connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            connection->waits_to_send = true;
            return;
        }
        if (sent < 0) {
            broken++;
            end(connection);
            return;
        }
        connection->unsent += sent;
        connection->unsent_bytes -= (size_t)sent;
    }
    if (connection->waits_to_send) watch(epoll, connection, EPOLLIN, EPOLL_CTL_MOD);
    connection->waits_to_send = false;
}

/* Send the next record, or close the connection when there is none or the time is over. */
static void send_next(int epoll, Connection *connection) {
    connection->sent_at = now_ns();
    if (next_record == records_end) exhausted = true;
    if (connection->sent_at >= deadline || exhausted) {
        end(connection);
        return;
    }
    uint32_t length;
    memcpy(&length, next_record, sizeof length);
    connection->unsent = next_record + sizeof length;
    connection->unsent_bytes = length;
    connection->got = 0;
    next_record += sizeof length + length;
    flush(epoll, connection);
}

/* The bytes of a complete answer at the start of the buffer; 0 when it is not complete. */
static size_t complete(Connection *connection) {
    connection->answer[connection->got] = '\0';
    const char *head_end = strstr(connection->answer, "\r\n\r\n");
    if (head_end == NULL) return 0;
    const char *field = strcasestr(connection->answer, "\r\ncontent-length:");
    if (field == NULL || field > head_end) {
        fputs("load: an answer without Content-Length\n", stderr);
        exit(1);
    }
    size_t whole = (size_t)(head_end - connection->answer) + 4 + strtoul(field + 17, NULL, 10);
    return whole <= connection->got ? whole : 0;
}

static void receive(int epoll, Connection *connection) {
    ssize_t got = recv(connection->socket, connection->answer + connection->got, ANSWER_BYTES - connection->got, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        broken++;
        end(connection);
        return;
    }
    connection->got += (size_t)got;
    if (complete(connection) == 0) return;
    if (strncmp(connection->answer, "HTTP/1.1 200 ", 13) == 0 && strstr(connection->answer, mark) != NULL) {
        times[good++] = now_ns() - connection->sent_at;
    } else {
        if (bad++ == 0) fprintf(stderr, "load: first bad answer:\n%s\n", connection->answer);
    }
    send_next(epoll, connection);
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double percentile_ms(double share) {
    if (good == 0) return 0;
    size_t rank = (size_t)((double)good * share);
    return (double)times[rank < good ? rank : good - 1] / 1e6;
}

static size_t map_records(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) die(path);
    next_record = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (next_record == MAP_FAILED) die("mmap");
    records_end = next_record + status.st_size;
    size_t count = 0;
    for (const char *at = next_record; at < records_end; count++) {
        uint32_t length;
        memcpy(&length, at, sizeof length);
        at += sizeof length + length;
    }
    return count;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fputs("usage: load HOST PORT CONNECTIONS SECONDS REQUESTS MARK\n", stderr);
        return 64;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die("HOST");
    size_t connections = strtoul(argv[3], NULL, 10);
    mark = argv[6];
    times = calloc(map_records(argv[5]), sizeof *times);
    Connection *all = calloc(connections, sizeof *all);
    int epoll = epoll_create1(0);
    if (times == NULL || all == NULL || epoll < 0) die("load");
    for (size_t i = 0; i < connections; i++) {
        all[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].socket, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
        int on = 1;
        setsockopt(all[i].socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(all[i].socket, F_SETFL, O_NONBLOCK);
        watch(epoll, &all[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    uint64_t started = now_ns();
    deadline = started + (uint64_t)(atof(argv[4]) * 1e9);
    open_requests = connections;
    for (size_t i = 0; i < connections; i++) send_next(epoll, &all[i]);
    while (open_requests > 0) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, PATIENCE_MS);
        if (count <= 0) {
            fputs("load: no answer in time\n", stderr);
            return 1;
        }
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            if (connection->unsent_bytes > 0) flush(epoll, connection);
            if (connection->socket >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT)) receive(epoll, connection);
        }
    }
    double seconds = (double)(now_ns() - started) / 1e9;
    qsort(times, good, sizeof *times, compare);
    printf("{\"answered\": %zu, \"good\": %zu, \"bad\": %zu, \"broken\": %zu, \"exhausted\": %s, \"seconds\": %.6f, "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f}\n",
           good + bad, good, bad, broken, exhausted ? "true" : "false", seconds,
           percentile_ms(0.50), percentile_ms(0.99), percentile_ms(1.0));
    return 0;
}

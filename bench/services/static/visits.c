/* Serves the number of visits over HTTP. The number is kept in $STATE_DIR/visits, replaced whole by a rename; the page
 * is rendered into /var/cache/visits/page.html and sent from there. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE "/var/cache/visits"

static void die(const char *what)
{
    fprintf(stderr, "visits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long read_count(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = 0;
    close(fd);
    return strtol(text, NULL, 10);
}

static int write_count(const char *path, long count)
{
    char fresh[512], text[32];
    int fd, length = snprintf(text, sizeof text, "%ld\n", count);

    snprintf(fresh, sizeof fresh, "%s.new", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    if (write(fd, text, length) != length || fsync(fd) < 0) {
        close(fd);
        return -1;
    }
    close(fd);
    return rename(fresh, path);
}

static int render(long count)
{
    char text[128];
    int length = snprintf(text, sizeof text, "visits: %ld\n", count);
    int fd = open(CACHE "/page.html", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return -1;
    if (write(fd, text, length) != length) {
        close(fd);
        return -1;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void answer(int client, const char *path)
{
    char request[4096], page[256] = "", head[256];
    const char *status = "200 OK";
    ssize_t got = read(client, request, sizeof request - 1);
    long count = read_count(path);
    int fd;

    if (got <= 0)
        return;
    request[got] = 0;
    if (!strncmp(request, "POST ", 5) && write_count(path, ++count) < 0) {
        snprintf(page, sizeof page, "state: %s\n", strerror(errno));
        status = "500 Internal Server Error";
    } else if ((fd = render(count)) < 0) {
        snprintf(page, sizeof page, "cache: %s\n", strerror(errno));
        status = "500 Internal Server Error";
    } else {
        if (read(fd, page, sizeof page - 1) < 0)
            page[0] = 0;
        close(fd);
    }
    if (page[0] != 'v')
        fprintf(stderr, "visits: %s", page);
    got = snprintf(head, sizeof head, "HTTP/1.0 %s\r\nContent-Length: %zu\r\n\r\n", status, strlen(page));
    if (write(client, head, got) == got && write(client, page, strlen(page)) < 0)
        fprintf(stderr, "visits: client went away\n");
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 8080)};
    const char *directory = getenv("STATE_DIR") ? getenv("STATE_DIR") : "/data";
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    char path[256];

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, _exit);
    snprintf(path, sizeof path, "%s/visits", directory);
    if (mkdir(CACHE, 0755) < 0 && errno != EEXIST)
        die(CACHE);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&here, sizeof here) < 0 || listen(server, 16) < 0)
        die("listen");
    for (;;) {
        int client = accept(server, NULL, NULL);

        if (client < 0)
            continue;
        answer(client, path);
        close(client);
    }
}

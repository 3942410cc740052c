/* The only program of an image without a shell: does one small thing that a test asks for, and says what came of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int append(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || write(fd, "x", 1) != 1) {
        fprintf(stderr, "open %s: %s\n", path, strerror(errno));
        return 1;
    }
    close(fd);
    return 0;
}

/* Answer each connection with the number of bytes in `path`, one more each time. */
static int serve(int port, const char *path) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (append(path) || bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 16)) {
        perror("serve");
        return 1;
    }
    printf("listening on %d\n", port);
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        int failed = append(path), fd = open(path, O_RDONLY);
        char line[64];
        int length = snprintf(line, sizeof line, "%s %ld\n", failed ? "refused" : "ok", (long)lseek(fd, 0, SEEK_END));
        if (write(client, line, length) < 0) perror("write");
        close(fd);
        close(client);
    }
}

static void end(int number) { _exit(number == SIGTERM ? 0 : 3); }

int main(int count, char **words) {
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    const char *what = count > 1 ? words[1] : "wait";
    if (!strcmp(what, "write") && count > 2) return append(words[2]);
    if (!strcmp(what, "serve") && count > 3) return serve(atoi(words[2]), words[3]);
    if (!strcmp(what, "exit") && count > 2) return atoi(words[2]);
    while (!strcmp(what, "flood")) puts("a line that is written again and again until somebody stops it");
    for (;;) pause();
}

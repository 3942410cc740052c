/* Creates, writes, closes and removes files as fast as it can for so many seconds; prints how many a second, and how
   many for each second of processor time, which other work on the machine does not change. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double seconds = argc > 2 ? atof(argv[2]) : 3, begun = now(), end = begun + seconds;
    long done = 0;
    char path[256];
    while (now() < end)
        for (int i = 0; i < 100; i++, done++) {
            snprintf(path, sizeof path, "%s/churn%ld", argv[1], done % 1000);
            int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
            if (file < 0 || write(file, "0123456789abcdef", 16) != 16 || close(file) || unlink(path))
                return perror(path), 1;
        }
    printf("%.0f %.0f\n", done / (now() - begun), done / ((double)clock() / CLOCKS_PER_SEC));
    return 0;
}

/* Creates, writes, closes and removes files as fast as it can for so many seconds, `each` by a process of its own where
   that is asked for; prints how many a second, and how many for each second of processor time, which other work on the
   machine does not change. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double used(int who) {
    struct rusage u;
    getrusage(who, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int pass(const char *directory, long number) {
    char path[256];
    snprintf(path, sizeof path, "%s/churn%ld", directory, number % 1000);
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    if (file < 0 || write(file, "0123456789abcdef", 16) != 16 || close(file) || unlink(path))
        return perror(path), 1;
    return 0;
}

static int start(char *program, char *directory) {
    int status = 1;
    pid_t child = vfork();
    if (!child)
        execl(program, program, directory, (char *)0), _exit(1);
    waitpid(child, &status, 0);
    return status;
}

int main(int argc, char **argv) {
    if (argc == 2)
        return pass(argv[1], getpid());
    double seconds = atof(argv[2]), begun = now(), end = begun + seconds;
    long done = 0;
    while (now() < end)
        for (int i = 0; i < 100; i++, done++)
            if (argc > 3 ? start(argv[0], argv[1]) : pass(argv[1], done))
                return 1;
    printf("%.0f %.0f\n", done / (now() - begun), done / (used(RUSAGE_SELF) + used(RUSAGE_CHILDREN)));
    return 0;
}

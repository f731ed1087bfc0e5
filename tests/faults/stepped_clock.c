/* A clock of the day that can be set for some processes only: preloaded, it adds the milliseconds in the file STEPPED_CLOCK.
   Why not libfaketime: told to leave the monotonic clock alone, as setting a clock does, it (0.9.10) fails clock_nanosleep,
   by which Python sleeps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t none;
static volatile int64_t *step = &none;

__attribute__((constructor)) static void open_step(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) step = found;
    if (file >= 0) close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int bad = (int)syscall(SYS_clock_gettime, clock, at);
    if (!bad && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += *step / 1000;
    return bad;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    at->tv_sec = found.tv_sec;
    at->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (at) *at = found.tv_sec;
    return found.tv_sec;
}

/* librdkafka waits until a time of day: it has counted it by the clock above, and the kernel counts by the real one. */
int cnd_timedwait(void *condition, void *mutex, const struct timespec *until) {
    typedef int waits(void *, void *, const struct timespec *);
    waits *real = (waits *)dlvsym(RTLD_NEXT, "cnd_timedwait", "GLIBC_2.28");
    struct timespec moved = *until;
    moved.tv_sec -= *step / 1000;
    return real(condition, mutex, &moved);
}

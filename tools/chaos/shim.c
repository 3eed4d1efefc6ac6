/* shim.c - preloaded into a node by the chaos runner: a wall clock that is wrong, a disk that does not sync.
 *
 * CHAOS_FAULTS names a file of 16 bytes, mapped for as long as the process lives; the runner writes it, this reads it at each call:
 *
 *      0..7   int64, little endian: milliseconds that CLOCK_REALTIME is ahead (negative: behind). The monotonic clock stays true.
 *      8      not 0: fsync, fdatasync and sync_file_range fail with EIO
 *      9      not 0: write, pwrite, writev, fallocate to files (not to descriptors 0 to 2) fail with ENOSPC
 *
 * Without the file nothing is changed. Threads: any; only atomic reads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    int64_t ahead_ms;
    uint8_t sync_fails, disk_full;
};

static const struct faults none;
static const struct faults *faults = &none;
static int (*true_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CHAOS_FAULTS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = fd >= 0 ? mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    true_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (found != MAP_FAILED)
        faults = found;
    if (fd >= 0)
        close(fd);
}

int clock_gettime(clockid_t which, struct timespec *t)
{
    int result = true_gettime ? true_gettime(which, t) : (int)syscall(SYS_clock_gettime, which, t);
    if (result != 0 || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
        return result;
    int64_t ahead_ms = __atomic_load_n(&faults->ahead_ms, __ATOMIC_RELAXED);
    t->tv_sec += ahead_ms / 1000;
    t->tv_nsec += ahead_ms % 1000 * 1000000;
    if (t->tv_nsec < 0)
        t->tv_nsec += 1000000000, t->tv_sec--;
    if (t->tv_nsec >= 1000000000)
        t->tv_nsec -= 1000000000, t->tv_sec++;
    return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *t)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}

static int sync_or_fail(long number, int fd)
{
    if (!__atomic_load_n(&faults->sync_fails, __ATOMIC_RELAXED))
        return (int)syscall(number, fd);
    errno = EIO;
    return -1;
}

int fsync(int fd)
{
    return sync_or_fail(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_or_fail(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off_t offset, off_t count, unsigned flags)
{
    /* Without flags it touches nothing and does not fail on any disk: RocksDB asks so whether there is such a call. */
    if (flags == 0 || !__atomic_load_n(&faults->sync_fails, __ATOMIC_RELAXED))
        return (int)syscall(SYS_sync_file_range, fd, offset, count, flags);
    errno = EIO;
    return -1;
}

static int is_full(int fd)
{
    struct stat st;
    if (!__atomic_load_n(&faults->disk_full, __ATOMIC_RELAXED) || fd <= 2 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    return is_full(fd) ? -1 : syscall(SYS_write, fd, bytes, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return is_full(fd) ? -1 : syscall(SYS_writev, fd, parts, n);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return is_full(fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, n, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    return pwrite(fd, bytes, n, at);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    return is_full(fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, n);
}

int fallocate64(int fd, int mode, off_t at, off_t n)
{
    return fallocate(fd, mode, at, n);
}

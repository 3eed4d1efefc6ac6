/* doctor_disk.c - the data directory, as the store will find it, and the clock, as what is stored shows it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    SYNCS = 15,
    PROBE_BYTES = 4096,
    SYNC_SLOW_US = 10000,    /* above, no append is acknowledged within 25 ms under load */
    FREE_PERCENT_MIN = 10,
    SKEW_MAX_MS = 1000,
};
static const uint64_t FREE_BYTES_MIN = 1ull << 30;

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Microseconds of a write and sync of PROBE_BYTES: median of SYNCS; false and errno if one fails. */
static bool measure_syncs(int fd, uint64_t *median_us, uint64_t *max_us)
{
    static const char block[PROBE_BYTES];
    uint64_t took[SYNCS];
    for (int i = 0; i < SYNCS; i++) {
        uint64_t began = clock_mono_ns(&clock_system);
        errno = ENOSPC; /* what a short write means */
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0)
            return false;
        took[i] = (clock_mono_ns(&clock_system) - began) / 1000;
    }
    qsort(took, SYNCS, sizeof *took, by_size);
    *median_us = took[SYNCS / 2];
    *max_us = took[SYNCS - 1];
    return true;
}

static void check_syncs(struct doctor *d, const char *folder)
{
    char probe[4200];
    uint64_t median_us, max_us;
    snprintf(probe, sizeof probe, "%s/.doctor-XXXXXX", folder);
    int fd = mkostemp(probe, O_CLOEXEC);
    if (fd < 0) {
        doctor_say(d, DOCTOR_FAILS, "data", "cannot write to %s: %s", folder, strerror(errno));
        return;
    }
    unlink(probe);
    if (!measure_syncs(fd, &median_us, &max_us))
        doctor_say(d, DOCTOR_FAILS, "data", "cannot write to %s: %s", folder, strerror(errno));
    else
        doctor_say(d, median_us > SYNC_SLOW_US ? DOCTOR_WARNS : DOCTOR_FINE, "data",
                   "a synced write takes %.2f ms, at worst %.2f ms: no acknowledgement comes sooner", (double)median_us / 1000,
                   (double)max_us / 1000);
    close(fd);
}

static void check_space(struct doctor *d, const char *folder)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0)
        return;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, all = (uint64_t)fs.f_blocks * fs.f_frsize;
    bool little = room < FREE_BYTES_MIN || (all > 0 && room * 100 / all < FREE_PERCENT_MIN);
    doctor_say(d, little ? DOCTOR_WARNS : DOCTOR_FINE, "data", "%s has room for %llu MiB more", folder,
               (unsigned long long)(room >> 20));
}

void doctor_data(struct doctor *d, const char *path)
{
    char folder[4096];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", path);
    while (stat(folder, &st) != 0 && errno == ENOENT) { /* it will be made: what matters is where */
        char *slash = strrchr(folder, '/');
        if (slash == NULL)
            snprintf(folder, sizeof folder, ".");
        else if (slash == folder)
            folder[1] = '\0';
        else
            *slash = '\0';
    }
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        doctor_say(d, DOCTOR_FAILS, "data", "%s cannot be a directory: %s: %s", path, folder, errno ? strerror(errno) : "is a file");
        return;
    }
    if (strcmp(folder, path) != 0)
        doctor_say(d, DOCTOR_FINE, "data", "%s does not exist yet and will be made in %s", path, folder);
    check_syncs(d, folder);
    check_space(d, folder);
}

/* ---- the clock ---- */

/* The newest change of a file in the directory, Unix time in ms; 0 = none. */
static int64_t newest_change_ms(const char *path)
{
    DIR *folder = path ? opendir(path) : NULL;
    int64_t newest = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        struct stat st;
        if (fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        int64_t at = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        newest = at > newest ? at : newest;
    }
    if (folder)
        closedir(folder);
    return newest;
}

void doctor_clock(struct doctor *d, const char *data_path, int64_t now_ms)
{
    int64_t ahead_ms = newest_change_ms(data_path) - now_ms;
    struct timex state = {0};
    if (ahead_ms > SKEW_MAX_MS)
        doctor_say(d, DOCTOR_FAILS, "clock", "the store was written %.1f s in the future: this clock has been set back",
                   (double)ahead_ms / 1000);
    else
        doctor_say(d, DOCTOR_FINE, "clock", "nothing in the store is newer than now");
    if (adjtimex(&state) == TIME_ERROR || (state.status & STA_UNSYNC))
        doctor_say(d, DOCTOR_WARNS, "clock", "the kernel does not know of any time server");
}

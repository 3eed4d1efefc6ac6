/* proc.c - /proc, and the CPU clock that Linux keeps of every process.
 *
 * /proc/<pid>/stat counts CPU in ticks of 10 ms; clock_getcpuclockid() reads the same sum in nanoseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/proc.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t proc_cpu_ns(uint64_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (pid == 0 || clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The number behind `key` in a file of "key: number" lines; 0 if it is not there. */
static uint64_t number_in(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    uint64_t value = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static void add_threads(uint64_t pid, struct proc_usage *usage)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%llu/task", (unsigned long long)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%llu/task/%s/status", (unsigned long long)pid, entry->d_name);
        usage->waits += number_in(path, "voluntary_ctxt_switches:");
        usage->preemptions += number_in(path, "nonvoluntary_ctxt_switches:");
        usage->threads++;
    }
    if (dir)
        closedir(dir);
}

bool proc_read(uint64_t pid, struct proc_usage *usage)
{
    *usage = (struct proc_usage){.cpu_ns = proc_cpu_ns(pid)};
    if (usage->cpu_ns == 0)
        return false;
    char path[64];
    snprintf(path, sizeof path, "/proc/%llu/smaps_rollup", (unsigned long long)pid);
    usage->rss_bytes = number_in(path, "Rss:") * 1024;
    usage->anonymous_bytes = number_in(path, "Anonymous:") * 1024;
    add_threads(pid, usage);
    return true;
}

/* The first line of /proc/stat: user nice system idle iowait irq softirq steal ..., in ticks. */
uint64_t proc_machine_cpu_ns(void)
{
    enum { FIELDS = 8, IDLE = 3, IOWAIT = 4 };
    char line[512];
    uint64_t ticks = 0;
    FILE *file = fopen("/proc/stat", "re");
    char *at = file && fgets(line, sizeof line, file) ? line + strlen("cpu ") : NULL;
    for (unsigned i = 0; at && i < FIELDS; i++) {
        uint64_t value = strtoull(at, &at, 10);
        if (i != IDLE && i != IOWAIT)
            ticks += value;
    }
    if (file)
        fclose(file);
    return ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

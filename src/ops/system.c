/* system.c - the machine and our process, from /proc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { PROC_FILE_MAX = 8192 };

static struct str read_file(const char *path, char *space, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return STR("");
    size_t n = 0;
    for (ssize_t got; n < size && (got = read(fd, space + n, size - n)) > 0;)
        n += (size_t)got;
    close(fd);
    return str_make(space, n);
}

/* The number behind `name`, wherever a line begins with it; 0 if none does. */
static uint64_t number_of(struct str text, struct str name)
{
    uint64_t value = 0;
    for (struct str rest = text; rest.p;) {
        struct str line = str_split(&rest, '\n');
        if (!str_starts(line, name))
            continue;
        struct str number = str_trim(str_from(line, name.n));
        return str_to_u64(str_split(&number, ' '), &value) ? value : 0;
    }
    return 0;
}

struct memory memory_of(struct str meminfo)
{
    struct memory m = {.total = 1024 * number_of(meminfo, STR("MemTotal:")),
                       .free = 1024 * number_of(meminfo, STR("MemAvailable:"))};
    m.used = m.total - (m.free < m.total ? m.free : m.total);
    m.percent = m.total ? 100.0 * (double)m.used / (double)m.total : 0;
    return m;
}

struct memory memory_read(void)
{
    char space[PROC_FILE_MAX];
    return memory_of(read_file("/proc/meminfo", space, sizeof space));
}

/* proc(5): the second field is a name in parentheses that may hold anything; the numbers here count from the
 * third. */
struct process process_of(struct str stat, double hertz, double page_bytes, double boot_s)
{
    enum { UTIME = 11, STIME = 12, START = 19, VSIZE = 20, RSS = 21, FIELDS = 22 };
    uint64_t field[FIELDS] = {0};
    struct process p = {0};
    size_t close_at = stat.n;
    while (close_at > 0 && stat.p[close_at - 1] != ')')
        close_at--;
    if (close_at + 1 >= stat.n)
        return p;
    struct str rest = str_from(stat, close_at + 1);
    for (size_t i = 0; i < FIELDS && rest.p; i++)
        str_to_u64(str_split(&rest, ' '), &field[i]);
    p.cpu_seconds = (double)(field[UTIME] + field[STIME]) / hertz;
    p.start_time_seconds = boot_s + (double)field[START] / hertz;
    p.virtual_bytes = (double)field[VSIZE];
    p.resident_bytes = page_bytes * (double)field[RSS];
    return p;
}

double walk_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double n = 0;
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* not the directory's own */
}

/* Kernels from 6.2 on have counted them. Older ones must be asked for each, some 25 ms for 15,000: of a thread's time that may take
 * 1 / WALK_SHARE, in between what was found last holds. */
static double count_fds(void)
{
    enum { WALK_SHARE = 100 };
    static _Thread_local double known;
    static _Thread_local uint64_t again_ns;
    struct stat dir;
    uint64_t now_ns = clock_mono_ns(&clock_system);
    if (stat("/proc/self/fd", &dir) == 0 && dir.st_size > 0)
        return (double)dir.st_size;
    if (now_ns >= again_ns) {
        known = walk_fds();
        again_ns = clock_mono_ns(&clock_system);
        again_ns += WALK_SHARE * (again_ns - now_ns);
    }
    return known;
}

struct process process_read(void)
{
    char space[PROC_FILE_MAX], boot[PROC_FILE_MAX * 4];
    double boot_s = (double)number_of(read_file("/proc/stat", boot, sizeof boot), STR("btime "));
    struct process p = process_of(read_file("/proc/self/stat", space, sizeof space),
                                  (double)sysconf(_SC_CLK_TCK), (double)sysconf(_SC_PAGESIZE), boot_s);
    struct rlimit limit;
    p.open_fds = count_fds();
    p.max_fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
    return p;
}

uint64_t connections_budget(const struct config *config, uint64_t files_max)
{
    uint64_t room = files_max > 2 * FILES_KEPT ? files_max - FILES_KEPT : files_max / 2;
    return config->max_connections > 0 && config->max_connections < room ? config->max_connections : room;
}

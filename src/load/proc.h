/* proc.h - what a process has used so far, read from outside.
 *
 * Linux only. The CPU of a process is exact to the nanosecond, that of the machine in ticks of 10 ms. Threads: any. Errors: 0 or false,
 * also for a process that has just ended.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct proc_usage {
    uint64_t cpu_ns;          /* user and system, all threads, those that ended too */
    uint64_t rss_bytes;       /* smaps_rollup: Rss */
    uint64_t anonymous_bytes; /* smaps_rollup: Anonymous; what it allocated, without code and file pages */
    uint64_t waits;       /* voluntary context switches of the threads that live: each is one wake-up later */
    uint64_t preemptions; /* involuntary ones */
    uint32_t threads;
};

/* pid 0: nothing, and false. False also if there is no such process. */
bool proc_read(uint64_t pid, struct proc_usage *usage);
/* Only cpu_ns, cheaply; 0 if there is no such process. */
uint64_t proc_cpu_ns(uint64_t pid);
/* CPU that the whole machine has used, or that its host took away (steal), in ticks of 10 ms. */
uint64_t proc_machine_cpu_ns(void);

/* main.c - sockudo-sim: histories from seeds, each in a process of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const plants[] = {"none", "lose", "double", "reorder", "ack-early"};

struct totals { /* shared with the children through a pipe */
    uint64_t acknowledged, orphans, crashes, store_failures, drops, resumes, rewinds, wildcards, overflows, hot, cold, planted;
    bool failed;
};

static unsigned nodes = 1;

static struct totals history(uint64_t seed, enum plant plant, bool verbose, bool quiet)
{
    struct world *w = world_new(seed, nodes, plant, verbose);
    world_run(w);
    if (w->failure.n > 0 && !quiet)
        printf("seed %llu: %.*s", (unsigned long long)seed, STR_ARG(buf_view(&w->failure)));
    return (struct totals){w->acknowledged, w->orphans, w->crashes, w->store_failures, w->drops, w->resumes, w->rewinds, w->wildcards, w->overflows,
                           w->hot, w->cold, w->planted, w->failure.n > 0};
}

/* A crash of the core counts as a failure of its seed. */
static struct totals history_in_child(uint64_t seed, enum plant plant, bool quiet)
{
    struct totals t = {.failed = true};
    int ends[2], status;
    fflush(stdout);
    if (pipe(ends) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        t = history(seed, plant, false, quiet);
        fflush(stdout);
        _exit(write(ends[1], &t, sizeof(t)) == sizeof(t) ? 0 : 1);
    }
    close(ends[1]);
    bool whole = read(ends[0], &t, sizeof(t)) == sizeof(t);
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (!whole) {
        t = (struct totals){.failed = true};
        if (!quiet)
            printf("seed %llu: the process died, status %d\n", (unsigned long long)seed, status);
    }
    return t;
}

static int run_many(uint64_t first, uint64_t count)
{
    struct totals sum = {0};
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct totals t = history_in_child(seed, PLANT_NONE, false);
        failed += t.failed;
        sum.acknowledged += t.acknowledged;
        sum.orphans += t.orphans;
        sum.crashes += t.crashes;
        sum.store_failures += t.store_failures;
        sum.drops += t.drops;
        sum.resumes += t.resumes;
        sum.rewinds += t.rewinds;
        sum.wildcards += t.wildcards;
        sum.overflows += t.overflows;
        sum.hot += t.hot;
        sum.cold += t.cold;
    }
    printf("%llu histories: %llu tokens acknowledged, %llu deaths, %llu failed writes, %llu lost connections, %llu resumes "
           "(%llu hot, %llu cold), %llu rewinds, %llu by wildcards, %llu frames to full queues, %llu silent streams closed\n",
           (unsigned long long)count, (unsigned long long)sum.acknowledged, (unsigned long long)sum.crashes,
           (unsigned long long)sum.store_failures, (unsigned long long)sum.drops, (unsigned long long)sum.resumes,
           (unsigned long long)sum.hot, (unsigned long long)sum.cold,
           (unsigned long long)sum.rewinds, (unsigned long long)sum.wildcards, (unsigned long long)sum.overflows, (unsigned long long)sum.orphans);
    printf("%llu passed, %llu failed\n", (unsigned long long)(count - failed), (unsigned long long)failed);
    if (count >= 100 && (sum.hot == 0 || sum.cold == 0)) {
        printf("one of the tiers has never been used\n");
        return 1;
    }
    return failed > 0;
}

/* Each planted fault must be found within 100 seeds. */
static int run_planted(void)
{
    int missed = 0;
    for (enum plant plant = PLANT_LOSE; plant <= PLANT_ACK_EARLY; plant++) {
        uint64_t seed = 1;
        while (seed <= 100 && !history_in_child(seed, plant, true).failed)
            seed++;
        if (seed <= 100)
            printf("planted fault '%s': found at seed %llu\n", plants[plant], (unsigned long long)seed);
        else
            printf("planted fault '%s': NOT FOUND within 100 seeds\n", plants[plant]);
        missed += seed > 100;
    }
    printf("%d passed, %d failed\n", 4 - missed, missed);
    return missed > 0;
}

static int usage(int status)
{
    printf("usage: sockudo-sim [--seed N] [--count N] [--first N] [--nodes N] [--plant] [--fault NAME] [--verbose]\n\n"
           "  --seed N     one history, replayed with its events (--verbose shows frames)\n"
           "  --count N    N histories, seeds from --first (1); 1000 by default\n"
           "  --nodes N    several nodes on one store, with a bus between them; 1 by default\n"
           "  --plant      plants each fault in turn and demands that it is found within 100 seeds\n"
           "  --fault F    with --seed: plants lose, double, reorder or ack-early\n");
    return status;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, count = 1000, first = 1, many;
    enum plant fault = PLANT_NONE;
    bool plant = false, verbose = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_setup(&(struct log_options){.filter = "off"}); /* its disk fails all the time */
    for (int i = 1; i < argc; i++) {
        struct str arg = str_of(argv[i]), value = str_of(i + 1 < argc ? argv[i + 1] : "");
        if (str_eq(arg, STR("--plant")))
            plant = true;
        else if (str_eq(arg, STR("--verbose")))
            verbose = true;
        else if (str_eq(arg, STR("--help")))
            return usage(0);
        else if (str_eq(arg, STR("--seed")) && str_to_u64(value, &seed))
            i++;
        else if (str_eq(arg, STR("--count")) && str_to_u64(value, &count))
            i++;
        else if (str_eq(arg, STR("--first")) && str_to_u64(value, &first))
            i++;
        else if (str_eq(arg, STR("--nodes")) && str_to_u64(value, &many) && many > 0 && many <= NODES_MAX) {
            nodes = (unsigned)many;
            i++;
        }
        else if (str_eq(arg, STR("--fault")) && i + 1 < argc) {
            for (enum plant p = PLANT_LOSE; p <= PLANT_ACK_EARLY; p++)
                if (str_eq(value, str_of(plants[p])))
                    fault = p;
            i++;
        } else
            return usage(2);
    }
    if (seed != 0) {
        struct totals t = history(seed, fault, verbose, false);
        printf("seed %llu: %s\n", (unsigned long long)seed, t.failed ? "FAILED" : "all well");
        return t.failed;
    }
    return plant ? run_planted() : run_many(first, count);
}

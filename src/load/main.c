/* main.c - sockudo-load: a mode and its options.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "load/rig.h"

static const struct mode {
    const char *name;
    enum mode_bit bit;
    int (*run)(const struct options *options);
    const char *help;
} modes[] = {
    {"subscribe", IN_SUBSCRIBE, mode_subscribe,
     "WebSocket subscribers that count, check order and measure latency"},
    {"publish", IN_PUBLISH, mode_publish, "signed publishes over keep-alive connections"},
    {"fanout", IN_FANOUT, mode_fanout,
     "a publisher and its subscribers: deliveries per second and CPU second"},
    {"append", IN_APPEND, mode_append, "streams of appends: rate, acknowledgement latency, CPU, stored text"},
    {"idle", IN_IDLE, mode_idle, "idle connections: the server's memory for each, and its wake-ups"},
    {"streams", IN_STREAMS, mode_streams,
     "many open streams, few connections: latency, CPU, and what the idle ones cost (--rate 0)"},
    {"resume", IN_RESUME, mode_resume,
     "subscribers that are cut off at once and come back: all text compared, and what the others feel"},
    {"agent", IN_AGENT, mode_agent, "part of a scale run: takes orders as lines of JSON (test/load)"},
    {"start", IN_START, mode_start, "-- command...: how long a server takes to accept its first connection"},
};
enum { MODES = sizeof modes / sizeof *modes };

static const struct mode *find(const char *name)
{
    for (unsigned i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

static int usage(FILE *to)
{
    fprintf(to, "usage: sockudo-load MODE [--option value]... ; MODE --help lists the options\n");
    for (unsigned i = 0; i < MODES; i++)
        fprintf(to, "  %-10s %s\n", modes[i].name, modes[i].help);
    return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    const struct mode *mode = argc > 1 ? find(argv[1]) : NULL;
    if (!mode)
        return usage(stderr);
    if (argc > 2 && strcmp(argv[2], "--help") == 0) {
        printf("sockudo-load %s: %s\n", mode->name, mode->help);
        options_help(mode->bit);
        return 0;
    }
    struct options options;
    if (!options_read(&options, mode->bit, argc, argv))
        return 2;
    return mode->run(&options);
}

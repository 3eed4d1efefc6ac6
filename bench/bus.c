/* bus.c - what the Redis bus carries: two buses in this process, one Redis, one topic.
 *
 *   bus PORT PAYLOAD_BYTES SECONDS
 *
 * First one payload at a time (latency), then as many as the queue lets in (rate). CPU of this process is that of both nodes; bytes on the
 * wire are what Redis counted. Prints one JSON object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hist.h"
#include "base/log.h"
#include "cluster/bus.h"

static _Atomic uint64_t arrived;
static _Atomic bool listens;

static void published(void *user, struct str node, unsigned topic, struct str payload)
{
    atomic_fetch_add(&arrived, 1);
}
static void received(void *user, struct str node, struct str payload)
{
}
static void listening(void *user, unsigned topic)
{
    listens = true;
}
static void joined(void *user, struct str node, enum bus_peer_joins how, bool leads)
{
}
static void left(void *user, struct str node, bool clean, bool leads)
{
}

static struct bus *open_bus(uint16_t port)
{
    struct bus_options options = {.handlers = {.published = published, .received = received, .listening = listening,
                                               .peer_joined = joined, .peer_left = left},
                                  .clock = &clock_system, .metrics = metric_registry_new(), .prefix = STR("sockudo_adapter:"),
                                  .topics = 1024, .heartbeat_ms = 10000, .node_timeout_ms = 30000,
                                  .redis = {.host = STR("127.0.0.1"), .port = port}};
    struct buf error = {0};
    struct bus *bus = bus_open_redis(&options, &error);
    if (bus == NULL) {
        fprintf(stderr, "%.*s\n", STR_ARG(buf_view(&error)));
        exit(1);
    }
    return bus;
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 50000}, NULL);
}

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct traffic {
    double in, out, cpu_us; /* bytes that Redis has read and written; its CPU */
};

static double figure(const char *info, const char *name)
{
    const char *at = strstr(info, name);
    return at != NULL ? strtod(at + strlen(name) + 1, NULL) : 0;
}

static struct traffic traffic_of(redisContext *c)
{
    redisReply *reply = redisCommand(c, "INFO all");
    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        fprintf(stderr, "no INFO\n");
        exit(1);
    }
    struct traffic t = {figure(reply->str, "total_net_input_bytes"), figure(reply->str, "total_net_output_bytes"),
                        1e6 * (figure(reply->str, "used_cpu_user") + figure(reply->str, "used_cpu_sys"))};
    freeReplyObject(reply);
    return t;
}

static void one_at_a_time(struct bus *bus, struct str payload, struct hist *latency)
{
    for (int i = 0; i < 2000; i++) {
        uint64_t before = arrived, started_ns = clock_mono_ns(&clock_system);
        bus_publish(bus, 7, payload);
        while (arrived == before)
            ;
        hist_record(latency, (clock_mono_ns(&clock_system) - started_ns) / 1000);
    }
}

static uint64_t as_many_as_go(struct bus *bus, struct str payload, uint64_t until_ns)
{
    uint64_t sent = 0, base = arrived;
    while (clock_mono_ns(&clock_system) < until_ns) {
        for (; sent - (arrived - base) < 4000; sent++)
            bus_publish(bus, 7, payload);
        nap();
    }
    while (arrived - base < sent)
        nap();
    return sent;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bus PORT PAYLOAD_BYTES SECONDS\n");
        return 2;
    }
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    size_t bytes = strtoul(argv[2], NULL, 10);
    char *text = calloc(1, bytes + 1);
    memset(text, 'x', bytes);
    struct str payload = str_make(text, bytes);
    log_setup(&(struct log_options){.filter = "warn"});
    struct bus *a = open_bus(port), *b = open_bus(port);
    while (bus_peers(a) != 1 || bus_peers(b) != 1 || !bus_is_up(a) || !bus_is_up(b))
        nap();
    bus_listen(b, 7, 0);
    while (!listens)
        nap();

    struct hist *latency = hist_new_default();
    redisContext *c = redisConnect("127.0.0.1", port);
    one_at_a_time(a, payload, latency);
    struct traffic before = traffic_of(c);
    double cpu = cpu_us();
    uint64_t started_ns = clock_mono_ns(&clock_system), seconds = strtoul(argv[3], NULL, 10);
    uint64_t count = as_many_as_go(a, payload, started_ns + seconds * 1000000000u);
    double took_s = (double)(clock_mono_ns(&clock_system) - started_ns) / 1e9, n = (double)count;
    struct traffic after = traffic_of(c);
    cpu = cpu_us() - cpu;
    printf("{\"payload_bytes\":%zu,\"payloads_per_s\":%.0f,\"cpu_us_per_payload\":%.2f,\"redis_cpu_us_per_payload\":%.2f,"
           "\"bytes_to_redis\":%.1f,\"bytes_from_redis\":%.1f,\"latency_us_p50\":%llu,\"latency_us_p99\":%llu}\n",
           bytes, n / took_s, cpu / n, (after.cpu_us - before.cpu_us) / n, (after.in - before.in) / n, (after.out - before.out) / n,
           (unsigned long long)hist_percentile(latency, 50), (unsigned long long)hist_percentile(latency, 99));
    bus_close(a, 1000);
    bus_close(b, 1000);
    redisFree(c);
    return 0;
}

/* store_bench.c - what an append costs: the engine over RocksDB beside raw puts of the same rows in batches of the same size.
 *
 *      store_bench [directory]       per batch size: CPU and wall time of an append, of a raw put, and the difference
 *      store_bench start [directory] a million fragments, kill -9, then the time until the first read is answered
 *
 * CPU is that of the whole process, RocksDB's background threads too. 64 streams in 8 channels take turns; a fragment has 24
 * bytes and each append a receipt.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/engine.h"
#include "store/row.h"

enum { CHANNELS = 8, STREAMS = 64, ROW_SIZE = 96, START_FRAGMENTS = 1000000 };

struct figures {
    double cpu_us, wall_us;
};

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void)
{
    return (double)clock_mono_ns(&clock_system) / 1e9;
}

static void die(const char *what, struct buf *error)
{
    fprintf(stderr, "store_bench: %s %.*s\n", what, STR_ARG(buf_view(error)));
    exit(1);
}

static struct kv *open_kv(const char *directory)
{
    struct buf error = {0};
    struct kv *kv = kv_rocksdb_open(directory, &error);
    if (!kv)
        die("open", &error);
    return kv;
}

static struct figures since(double cpu, double wall, unsigned ops)
{
    return (struct figures){(cpu_seconds() - cpu) * 1e6 / ops, (wall_seconds() - wall) * 1e6 / ops};
}

static struct figures raw_puts(const char *directory, unsigned batch, unsigned ops)
{
    struct kv *kv = open_kv(directory);
    struct buf error = {0};
    char row[ROW_SIZE];
    memset(row, 'x', sizeof row);
    double cpu = cpu_seconds(), wall = wall_seconds();
    for (unsigned i = 0; i < ops; i++) {
        struct key key = key_of2('L', i % CHANNELS, i);
        kv_put(kv, key_str(&key), str_make(row, sizeof row));
        if (i % batch == batch - 1 && !kv_commit(kv, true, &error))
            die("commit", &error);
    }
    struct figures f = since(cpu, wall, ops);
    kv->ops->close(kv);
    return f;
}

struct streams {
    struct engine *engine;
    struct message_id messages[STREAMS];
    char channels[CHANNELS][16];
};

static void stage(struct streams *s, unsigned stream, struct store_op *op)
{
    struct buf error = {0};
    op->kind = STORE_WRITE;
    op->app_id = STR("app");
    op->channel = str_of(s->channels[stream % CHANNELS]);
    op->write.now_ms = 1;
    while (engine_stage(s->engine, op) == COMMIT_FIRST)
        if (!engine_commit(s->engine, true, &error))
            die("commit", &error);
    if (op->result != STORE_OK)
        die(store_result_text(op->result), &error);
}

static void open_streams(struct streams *s, struct kv *kv)
{
    static struct store_stats stats;
    struct store_options options = {.clock = &clock_system, .seed = 1};
    struct buf error = {0};
    s->engine = engine_new(kv, &options, &stats);
    for (unsigned c = 0; c < CHANNELS; c++)
        snprintf(s->channels[c], sizeof s->channels[c], "channel-%u", c);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct store_op op = {.write = {.action = ACTION_CREATE, .event_name = STR("ai-output"), .data = STR("\"\""),
                                        .extras = STR("{}"), .status = STREAM_OPEN}};
        stage(s, i, &op);
        s->messages[i] = op.written.message;
        arena_free(&op.arena);
    }
    if (!engine_commit(s->engine, true, &error))
        die("commit", &error);
}

static void append(struct streams *s, unsigned i)
{
    struct store_op op = {.write = {.action = ACTION_APPEND, .data = STR("\" a fragment of 24 bytes\""),
                                    .receipt_key = {i + 1, i * 0x9e3779b97f4a7c15u}, .fingerprint = {1, i}}};
    op.write.target = s->messages[i % STREAMS];
    stage(s, i % STREAMS, &op);
    arena_free(&op.arena);
}

static struct figures appends(const char *directory, unsigned batch, unsigned ops)
{
    struct kv *kv = open_kv(directory);
    struct buf error = {0};
    struct streams s;
    open_streams(&s, kv);
    double cpu = cpu_seconds(), wall = wall_seconds();
    for (unsigned i = 0; i < ops; i++) {
        append(&s, i);
        if (i % batch == batch - 1 && !engine_commit(s.engine, true, &error))
            die("commit", &error);
    }
    struct figures f = since(cpu, wall, ops);
    engine_free(s.engine);
    kv->ops->close(kv);
    return f;
}

static void clear(const char *directory)
{
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0)
        exit(1);
}

static void compare(const char *directory)
{
    printf("%6s %12s %12s %12s %12s %14s\n", "batch", "append cpu", "put cpu", "difference", "append wall", "appends/s");
    for (unsigned batch = 1; batch <= 1024; batch *= 4) {
        unsigned ops = batch == 1 ? 8192 : batch < 64 ? 65536 : 262144;
        clear(directory);
        struct figures put = raw_puts(directory, batch, ops);
        clear(directory);
        struct figures append = appends(directory, batch, ops);
        printf("%6u %9.2f us %9.2f us %9.2f us %9.2f us %14.0f\n", batch, append.cpu_us, put.cpu_us,
               append.cpu_us - put.cpu_us, append.wall_us, 1e6 / append.wall_us);
    }
    clear(directory);
}

static void fill_and_die(const char *directory)
{
    struct kv *kv = open_kv(directory);
    struct buf error = {0};
    struct streams s;
    open_streams(&s, kv);
    for (unsigned i = 0; i < START_FRAGMENTS; i++) {
        append(&s, i);
        if (i % 256 == 255 && !engine_commit(s.engine, true, &error))
            die("commit", &error);
    }
    _exit(0); /* as kill -9 would leave it */
}

static void measure_start(const char *directory)
{
    clear(directory);
    pid_t child = fork();
    if (child == 0)
        fill_and_die(directory);
    waitpid(child, NULL, 0);
    double began = wall_seconds();
    struct kv *kv = open_kv(directory);
    double opened = wall_seconds();
    static struct store_stats stats;
    struct store_options options = {.clock = &clock_system, .seed = 1};
    struct engine *e = engine_new(kv, &options, &stats);
    struct store_op op = {.kind = STORE_HEAD, .app_id = STR("app"), .channel = STR("channel-0")};
    engine_stage(e, &op);
    printf("start after a crash, %d fragments: open %.0f ms, first head after %.1f ms more (delivery %llu)\n", START_FRAGMENTS,
           (opened - began) * 1e3, (wall_seconds() - opened) * 1e3, (unsigned long long)op.head.delivery);
    engine_free(e);
    kv->ops->close(kv);
    clear(directory);
    began = wall_seconds();
    kv = open_kv(directory);
    printf("start of an empty store: %.0f ms\n", (wall_seconds() - began) * 1e3);
    kv->ops->close(kv);
    clear(directory);
}

int main(int argc, char **argv)
{
    int at = argc > 1 && strcmp(argv[1], "start") == 0 ? 2 : 1;
    const char *directory = argc > at ? argv[at] : "/tmp/store-bench";
    if (at == 2)
        measure_start(directory);
    else
        compare(directory);
    return 0;
}

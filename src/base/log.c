/* log.c - format on the stack, write once.
 *
 * A line that is not enabled costs one relaxed load: `loudest` is the highest level any rule allows.
 * Only what passes it takes the lock that protects the rules against a reload.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { RULES_MAX = 32, MODULE_SIZE = 32, MESSAGE_SIZE = 4096, TIME_SIZE = 32 };

struct rule {
    char module[MODULE_SIZE];
    enum log_level level;
};

static struct {
    pthread_rwlock_t lock;
    _Atomic int loudest;
    enum log_level level; /* of modules without a rule */
    struct rule rules[RULES_MAX];
    size_t rule_count;
    enum log_format format;
    bool colors, include_target;
} setup = {
    .lock = PTHREAD_RWLOCK_INITIALIZER, .loudest = LOG_INFO, .level = LOG_INFO, .include_target = true};

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG", "TRACE"};

static bool level_of(struct str name, enum log_level *level)
{
    if (str_eq_nocase(name, STR("off"))) {
        *level = LOG_OFF;
        return true;
    }
    for (int i = LOG_ERROR; i <= LOG_TRACE; i++)
        if (str_eq_nocase(name, str_of(level_names[i]))) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

/* Rules nobody can read are skipped: a wrong filter must not stop a server. */
static void read_rule(struct str text)
{
    struct str rest = text, name = str_trim(str_split(&rest, '='));
    enum log_level level;
    if (!rest.p) {
        if (level_of(name, &level))
            setup.level = level;
        return;
    }
    if (name.n >= MODULE_SIZE || setup.rule_count == RULES_MAX || !level_of(str_trim(rest), &level))
        return;
    struct rule *rule = &setup.rules[setup.rule_count++];
    memcpy(rule->module, name.p, name.n);
    rule->module[name.n] = 0;
    rule->level = level;
}

static void read_filter(const char *filter)
{
    struct str rest = str_of(filter ? filter : "info");
    setup.level = LOG_INFO;
    setup.rule_count = 0;
    while (rest.p)
        read_rule(str_trim(str_split(&rest, ',')));
    int loudest = setup.level;
    for (size_t i = 0; i < setup.rule_count; i++)
        if ((int)setup.rules[i].level > loudest)
            loudest = setup.rules[i].level;
    atomic_store_explicit(&setup.loudest, loudest, memory_order_relaxed);
}

void log_setup(const struct log_options *options)
{
    pthread_rwlock_wrlock(&setup.lock);
    setup.format = options->format;
    setup.colors = options->colors && isatty(STDERR_FILENO);
    setup.include_target = options->include_target;
    read_filter(options->filter);
    pthread_rwlock_unlock(&setup.lock);
}

static enum log_level level_for(const char *module)
{
    enum log_level level = setup.level;
    for (size_t i = 0; i < setup.rule_count; i++)
        if (strcmp(setup.rules[i].module, module) == 0)
            level = setup.rules[i].level;
    return level;
}

bool log_enabled(enum log_level level, const char *module)
{
    if (level < 0 || (int)level > atomic_load_explicit(&setup.loudest, memory_order_relaxed))
        return false;
    pthread_rwlock_rdlock(&setup.lock);
    bool enabled = level <= level_for(module);
    pthread_rwlock_unlock(&setup.lock);
    return enabled;
}

static void print_time(char out[TIME_SIZE])
{
    int64_t now_ms = clock_wall_ms(&clock_system);
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t n = strftime(out, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, TIME_SIZE - n, ".%03dZ", (int)(now_ms % 1000));
}

/* A message may quote what a client sent: it must not be able to start a line of its own, steer the
 * terminal or break the JSON. */
static void defuse(struct str message)
{
    char *p = (char *)message.p;
    for (size_t i = 0, size; i < message.n; i += size) {
        size = str_utf8_first(str_from(message, i));
        if (size == 0 || (unsigned char)p[i] < 32 || p[i] == 127) {
            p[i] = size ? ' ' : '?';
            size = 1;
        }
    }
}

static void put_text(struct buf *line, enum log_level level, const char *module, struct str message)
{
    static const char *const colors[] = {"\033[31m", "\033[33m", "\033[32m", "\033[34m", "\033[35m"};
    char when[TIME_SIZE];
    print_time(when);
    buf_fmt(line, "%s %s%s%s ", when, setup.colors ? colors[level] : "", level_names[level],
            setup.colors ? "\033[0m" : "");
    if (setup.include_target)
        buf_fmt(line, "%s: ", module);
    buf_str(line, message);
}

static void put_json(struct buf *line, enum log_level level, const char *module, struct str message)
{
    char when[TIME_SIZE];
    print_time(when);
    buf_fmt(line, "{\"timestamp\":\"%s\",\"level\":\"%s\"", when, level_names[level]);
    if (setup.include_target) {
        buf_lit(line, ",\"target\":");
        buf_json(line, str_of(module));
    }
    buf_lit(line, ",\"fields\":{\"message\":");
    buf_json(line, message);
    buf_lit(line, "}}");
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    if (!log_enabled(level, module))
        return;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0)
        return;
    struct str text = str_first(str_of(message), (size_t)n);
    struct buf line = {0};
    defuse(text);
    pthread_rwlock_rdlock(&setup.lock);
    (setup.format == LOG_JSON ? put_json : put_text)(&line, level, module, text);
    pthread_rwlock_unlock(&setup.lock);
    buf_char(&line, '\n');
    ssize_t written = write(STDERR_FILENO, line.p, line.n);
    (void)written; /* nobody is left to tell */
    buf_free(&line);
}

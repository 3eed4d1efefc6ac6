/* report.c - printing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report.h"

#include <stdio.h>

static void key_of(struct report *r, const char *key)
{
    buf_char(&r->json, r->json.n == 0 ? '{' : ',');
    buf_json(&r->json, str_of(key));
    buf_char(&r->json, ':');
}

void report_text(struct report *r, const char *key, const char *value)
{
    key_of(r, key);
    buf_json(&r->json, str_of(value));
    printf("  %-28s %s\n", key, value);
}

void report_count(struct report *r, const char *key, uint64_t value)
{
    key_of(r, key);
    buf_u64(&r->json, value);
    printf("  %-28s %llu\n", key, (unsigned long long)value);
}

void report_number(struct report *r, const char *key, double value)
{
    key_of(r, key);
    buf_fmt(&r->json, "%.4f", value);
    printf("  %-28s %.3f\n", key, value);
}

void report_latency(struct report *r, const char *key, const struct hist *h)
{
    static const struct {
        const char *name;
        double percent;
    } points[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}, {"max", 100}};
    printf("  %-28s", key);
    char name[80];
    for (unsigned i = 0; i < sizeof points / sizeof *points; i++) {
        double ms = (double)(i == 4 ? hist_max(h) : hist_percentile(h, points[i].percent)) / 1e6;
        snprintf(name, sizeof name, "%s_%s_ms", key, points[i].name);
        key_of(r, name);
        buf_fmt(&r->json, "%.4f", ms);
        printf(" %s %.3f", points[i].name, ms);
    }
    printf(" ms of %llu\n", (unsigned long long)hist_count(h));
    snprintf(name, sizeof name, "%s_mean_ms", key);
    key_of(r, name);
    buf_fmt(&r->json, "%.4f", hist_mean(h) / 1e6);
    snprintf(name, sizeof name, "%s_count", key);
    key_of(r, name);
    buf_u64(&r->json, hist_count(h));
}

bool report_end(struct report *r, const char *file)
{
    if (r->json.n == 0)
        buf_char(&r->json, '{');
    buf_lit(&r->json, "}\n");
    bool fine = true;
    if (file) {
        FILE *to = fopen(file, "we");
        fine = to && fwrite(r->json.p, 1, r->json.n, to) == r->json.n;
        if (to && fclose(to) != 0)
            fine = false;
        if (!fine)
            perror(file);
    }
    buf_free(&r->json);
    return fine;
}

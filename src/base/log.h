/* log.h - lines for people (text) or machines (JSON), on stderr.
 *
 * Filter syntax (chapter 5, 1.5): a comma list of `level` or `module=level`. Never log payloads, secrets,
 * tokens or signatures, at any level. Threads: any; one write(2) per line. A message is cut at 4 KiB;
 * control characters in it become spaces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE, LOG_OFF = -1 };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_options {
    enum log_format format;
    bool colors;         /* only where stderr is a terminal */
    bool include_target; /* print the module */
    const char *filter;  /* e.g. "info,store=debug"; NULL = "info" */
};

void log_setup(const struct log_options *options);
bool log_enabled(enum log_level level, const char *module);
/* module: the folder's name, a literal. */
void log_line(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define log_error(module, ...) log_line(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_line(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_line(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...)                                                                               \
    do {                                                                                                     \
        if (log_enabled(LOG_DEBUG, module))                                                                  \
            log_line(LOG_DEBUG, module, __VA_ARGS__);                                                        \
    } while (0)

/* toml_fuzz.c - no text may do more to the loader than be refused; what it prints of an accepted one loads
 * again.
 *
 * The first byte chooses: JSON or TOML.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "config/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const environment[] = {"HOME=/root", "PORT=7001", "EMPTY=", NULL};
static const struct config_request request = {.environ_ = environment};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static struct config *load(struct str text, enum config_format format)
{
    const struct config_text source = {STR("fuzz"), text, format};
    struct buf warnings = {0}, error = {0};
    struct config *config = config_from_text(&source, &request, &warnings, &error);
    require(config ? error.n == 0 : error.n > 0);
    buf_free(&warnings);
    buf_free(&error);
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    /* A copy of the exact size, so that a read beyond the end is seen. */
    char *copy = malloc(size);
    memcpy(copy, data, size);
    struct config *config = load(str_make(copy + 1, size - 1), copy[0] == '{' ? CONFIG_JSON : CONFIG_TOML);
    free(copy);
    if (config) {
        struct buf out = {0};
        config_print(config, &out);
        config_free(config);
        config = load(buf_view(&out), CONFIG_TOML);
        require(config);
        buf_free(&out);
    }
    config_free(config);
    return 0;
}

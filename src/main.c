/* main.c - the program: read the arguments, read the configuration, serve until told to stop.
 *
 * Exit codes: 0 stopped, or printed what was asked for; 1 cannot start, or the doctor found what must be cured; 2 wrong usage
 * (chapter 5, 1.1).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "ops/doctor.h"
#include "server.h"

#define VERSION "0.1.0"

static const char usage[] =
    "Usage: sockudo [options]\n"
    "       sockudo doctor [options]   look for what will keep it from working: limits, ports, data directory,\n"
    "                                  clock, configuration, PostgreSQL, Redis; exit 1 if something\n"
    "                                  must be cured first\n"
    "\n"
    "  -c, --config PATH    configuration file (.toml, anything else is JSON)\n"
    "      --data-dir PATH  where the embedded store keeps its files (default ./data)\n"
    "      --check-config   load and validate the configuration, print warnings, exit\n"
    "      --print-config   print the effective configuration, secrets masked, exit\n"
    "  -V, --version        print the version, exit\n"
    "  -h, --help           print this, exit\n"
    "\n"
    "Without a configuration file it serves a demo on 127.0.0.1:6001, with public credentials.\n";

enum action { SERVE, CHECK_CONFIG, PRINT_CONFIG, DOCTOR, PRINT_VERSION, PRINT_USAGE, WRONG_USAGE };

struct arguments {
    enum action action;
    struct config_request request;
};

static struct arguments read_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},     {"data-dir", required_argument, NULL, 'd'},
        {"check-config", no_argument, NULL, 'k'},     {"print-config", no_argument, NULL, 'p'},
        {"version", no_argument, NULL, 'V'},          {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct arguments args = {SERVE, {.environ_ = environ}};
    for (int option; (option = getopt_long(argc, argv, "c:Vh", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            args.request.file = optarg;
            break;
        case 'd':
            args.request.data_dir = optarg;
            break;
        case 'k':
            args.action = CHECK_CONFIG;
            break;
        case 'p':
            args.action = PRINT_CONFIG;
            break;
        case 'V':
            args.action = PRINT_VERSION;
            break;
        case 'h':
            args.action = PRINT_USAGE;
            break;
        default:
            args.action = WRONG_USAGE;
            return args;
        }
    }
    if (optind == argc - 1 && args.action == SERVE && strcmp(argv[optind], "doctor") == 0)
        args.action = DOCTOR;
    else if (optind < argc)
        args.action = WRONG_USAGE;
    return args;
}

static void print_buf(FILE *to, struct buf *text)
{
    struct str all = buf_view(text);
    fwrite(all.p, 1, all.n, to);
    buf_free(text);
}

static struct config *load(const struct config_request *request)
{
    struct buf warnings = {0}, error = {0};
    struct config *config = config_load(request, &warnings, &error);
    print_buf(stderr, &warnings);
    if (config == NULL)
        fprintf(stderr, "sockudo: %.*s\n", STR_ARG(buf_view(&error)));
    buf_free(&error);
    return config;
}

static int print_config(const struct config *config)
{
    struct buf text = {0};
    config_print(config, &text);
    print_buf(stdout, &text);
    return 0;
}

static void set_up_log(const struct config *config)
{
    char *filter = config->logging.filter.n > 0 ? str_dup(config->logging.filter) : NULL;
    struct log_options options = {
        .format = str_eq(config->logging.format, STR("json")) ? LOG_JSON : LOG_TEXT,
        .colors = config->logging.colors,
        .include_target = config->logging.include_target,
        .filter = filter,
    };
    log_setup(&options);
    free(filter);
}

static int serve(const struct config *config)
{
    struct buf error = {0};
    struct server *server = server_start(config, &error);
    if (server == NULL) {
        log_error("server", "%.*s", STR_ARG(buf_view(&error)));
        buf_free(&error);
        return 1;
    }
    server_wait(server);
    server_stop(server);
    return 0;
}

static int examine(const struct config *config)
{
    struct buf report = {0};
    enum doctor_verdict verdict = doctor_run(config, &report);
    print_buf(stdout, &report);
    return verdict == DOCTOR_FAILS;
}

static int run(const struct arguments *args)
{
    struct config *config = load(&args->request);
    if (config == NULL)
        return 1;
    set_up_log(config);
    int code = args->action == SERVE          ? serve(config)
               : args->action == PRINT_CONFIG ? print_config(config)
               : args->action == DOCTOR       ? examine(config)
                                              : 0;
    config_free(config);
    return code;
}

int main(int argc, char **argv)
{
    struct arguments args = read_arguments(argc, argv);
    switch (args.action) {
    case PRINT_VERSION:
        puts("sockudo " VERSION);
        return 0;
    case PRINT_USAGE:
        fputs(usage, stdout);
        return 0;
    case WRONG_USAGE:
        fputs(usage, stderr);
        return 2;
    default:
        return run(&args);
    }
}

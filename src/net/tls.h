/* tls.h - TLS of a connection that we open: OpenSSL over a socket that does not block.
 *
 *      tls_client   what holds for many connections: whom to believe, who we are
 *      tls          one of them; the descriptor stays the caller's, who polls it
 *
 * TLS 1.2 or newer. The peer's certificate must be for the host name (or address) that was asked for, unless accept_invalid_certs.
 * Threads: a tls_client one at a time, a tls its owner's. SIGPIPE must be ignored or blocked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

struct tls_options {
    bool enabled, accept_invalid_certs;
    struct str ca_path;                           /* file or directory; absent = the system's */
    struct str client_cert_path, client_key_path; /* PEM; absent = none */
};

struct tls_client;
struct tls;

/* NULL, with a readable reason that names the file, when a file cannot be used. */
struct tls_client *tls_client_new(const struct tls_options *options, struct buf *error);
void tls_client_free(struct tls_client *client);

struct tls *tls_new(struct tls_client *client, int fd, struct str host);
/* Says good-bye to nobody: the connection may be broken. */
void tls_free(struct tls *tls);

enum tls_result { TLS_DONE, TLS_WANTS_READ, TLS_WANTS_WRITE, TLS_CLOSED, TLS_FAILED };
enum tls_result tls_handshake(struct tls *tls);
enum tls_result tls_read(struct tls *tls, void *p, size_t n, size_t *done);
enum tls_result tls_write(struct tls *tls, const void *p, size_t n, size_t *done);
/* After TLS_FAILED: why. */
void tls_problem(const struct tls *tls, struct buf *out);

/* tls.c - see tls.h; the only file that includes OpenSSL's ssl.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"

struct tls_client {
    SSL_CTX *context;
};

struct tls {
    SSL *ssl;
    unsigned long problem; /* of OpenSSL's queue; 0 = see error */
    int error;             /* errno */
};

static bool refuse(struct buf *error, const char *what, struct str path)
{
    char reason[200];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof reason);
    buf_fmt(error, "%s %.*s cannot be used: %s", what, STR_ARG(path), reason);
    ERR_clear_error();
    return false;
}

static bool load_ca(SSL_CTX *context, struct str path, struct buf *error)
{
    struct stat status;
    if (path.p == NULL || path.n == 0)
        return SSL_CTX_set_default_verify_paths(context) == 1 || refuse(error, "the system's", STR("certificates"));
    char *name = str_dup(path);
    bool folder = stat(name, &status) == 0 && S_ISDIR(status.st_mode);
    int ok = folder ? SSL_CTX_load_verify_dir(context, name) : SSL_CTX_load_verify_file(context, name);
    free(name);
    return ok == 1 || refuse(error, "ca_path", path);
}

static bool load_own(SSL_CTX *context, const struct tls_options *options, struct buf *error)
{
    if (options->client_cert_path.n == 0 && options->client_key_path.n == 0)
        return true;
    if (options->client_cert_path.n == 0 || options->client_key_path.n == 0) {
        buf_lit(error, "client_cert_path and client_key_path are needed together");
        return false;
    }
    char *cert = str_dup(options->client_cert_path), *key = str_dup(options->client_key_path);
    bool cert_ok = SSL_CTX_use_certificate_chain_file(context, cert) == 1;
    bool key_ok = cert_ok && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1;
    free(cert);
    free(key);
    if (!cert_ok)
        return refuse(error, "client_cert_path", options->client_cert_path);
    return key_ok || refuse(error, "client_key_path", options->client_key_path);
}

struct tls_client *tls_client_new(const struct tls_options *options, struct buf *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        abort();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, options->accept_invalid_certs ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!load_ca(context, options->ca_path, error) || !load_own(context, options, error)) {
        SSL_CTX_free(context);
        return NULL;
    }
    struct tls_client *client = mem_new(struct tls_client);
    client->context = context;
    return client;
}

void tls_client_free(struct tls_client *client)
{
    if (client == NULL)
        return;
    SSL_CTX_free(client->context);
    free(client);
}

struct tls *tls_new(struct tls_client *client, int fd, struct str host)
{
    struct tls *tls = mem_new(struct tls);
    char *name = str_dup(host);
    unsigned char address[sizeof(struct in6_addr)];
    bool numeric = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    tls->ssl = SSL_new(client->context);
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1)
        abort();
    SSL_set_connect_state(tls->ssl);
    if (numeric) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), name);
    } else {
        SSL_set_tlsext_host_name(tls->ssl, name);
        SSL_set1_host(tls->ssl, name);
    }
    free(name);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

static enum tls_result result_of(struct tls *tls, int returned)
{
    if (returned > 0)
        return TLS_DONE;
    int error = errno;
    switch (SSL_get_error(tls->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        tls->problem = ERR_peek_last_error();
        tls->error = error;
        return TLS_FAILED;
    }
}

enum tls_result tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    return result_of(tls, SSL_do_handshake(tls->ssl));
}

enum tls_result tls_read(struct tls *tls, void *p, size_t n, size_t *done)
{
    ERR_clear_error();
    *done = 0;
    return result_of(tls, SSL_read_ex(tls->ssl, p, n, done));
}

enum tls_result tls_write(struct tls *tls, const void *p, size_t n, size_t *done)
{
    ERR_clear_error();
    *done = 0;
    return result_of(tls, SSL_write_ex(tls->ssl, p, n, done));
}

void tls_problem(const struct tls *tls, struct buf *out)
{
    long verified = SSL_get_verify_result(tls->ssl);
    char reason[200];
    if (verified != X509_V_OK) {
        buf_fmt(out, "the certificate is not valid: %s", X509_verify_cert_error_string(verified));
    } else if (tls->problem != 0) {
        ERR_error_string_n(tls->problem, reason, sizeof reason);
        buf_fmt(out, "TLS: %s", reason);
    } else {
        buf_fmt(out, "TLS: %s", tls->error != 0 ? strerror(tls->error) : "closed by the other side");
    }
}

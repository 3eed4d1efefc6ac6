/* http.c - the requests themselves: libcurl's multi interface, on the webhook thread (chapter 2, 2.19.2).
 *
 * TLS certificates are verified, redirects are not followed, only http and https are spoken. A status counts as soon as it is
 * there: what follows is read for at most RESPONSE_MAX bytes, so that the connection can be used again, and thrown away.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/mailbox.h"
#include "webhook/internal.h"

enum { RESPONSE_MAX = 64 << 10, CONNECTIONS_KEPT = 64 };

struct request {
    struct list link;
    struct job *job;
    CURL *easy;
    struct curl_slist *headers;
    size_t received;
    bool blocked; /* its address is not public, and must be */
};

struct http_outlet {
    struct outlet outlet;
    struct webhooks *hooks;
    CURLM *multi;
    struct list requests;
    const char *ca_file; /* SSL_CERT_FILE, as other programs read it; NULL = the system's certificates */
};

/* ---- one request ---- */

static size_t take_body(char *bytes, size_t size, size_t count, void *user)
{
    struct request *r = user;
    (void)bytes;
    r->received += size * count;
    return r->received <= RESPONSE_MAX ? size * count : 0;
}

/* For webhooks.block_private_addresses. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct request *r = user;
    r->blocked = !address_is_public(&address->addr);
    if (r->blocked || purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void add_header(struct request *r, const char *name, struct str value)
{
    struct buf line = {0};
    /* libcurl sends a header without a value only when it ends in ';'. */
    buf_str(&line, str_of(name));
    buf_str(&line, value.n > 0 ? STR(": ") : STR(";"));
    buf_str(&line, value);
    buf_char(&line, 0);
    r->headers = curl_slist_append(r->headers, line.p);
    buf_free(&line);
}

static void add_headers(struct request *r)
{
    const struct target *t = r->job->target;
    char signature[2 * SHA256_SIZE + 1];
    hmac_sha256_hex(t->hmac, r->job->body, signature);
    add_header(r, "Content-Type", STR("application/json"));
    add_header(r, "X-Pusher-Key", t->app->key);
    add_header(r, "X-Pusher-Signature", str_of(signature));
    for (size_t i = 0; i < t->config->headers_count; i++) {
        char *name = str_dup(t->config->headers[i].name);
        add_header(r, name, t->config->headers[i].value);
        free(name);
    }
    r->headers = curl_slist_append(r->headers, "Expect:");
}

static void set_options(struct request *r, const char *ca_file)
{
    const struct target *t = r->job->target;
    char *url = str_dup(t->config->url);
    long timeout_ms = t->timeout_ms < 3600000 ? (long)t->timeout_ms : 3600000;
    curl_easy_setopt(r->easy, CURLOPT_URL, url);
    curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(r->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* The thread of a name that does not resolve is not waited for. */
    curl_easy_setopt(r->easy, CURLOPT_QUICK_EXIT, 1L);
    if (t->app->global->webhooks.block_private_addresses) {
        curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETDATA, r);
    }
    if (ca_file != NULL)
        curl_easy_setopt(r->easy, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->job->body.p);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->job->body.n);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "sockudo");
    curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    free(url);
}

static void http_send(struct outlet *outlet, struct job *job)
{
    struct http_outlet *h = list_of(outlet, struct http_outlet, outlet);
    struct request *r = mem_new(struct request);
    r->job = job;
    r->easy = curl_easy_init();
    if (r->easy == NULL) {
        log_error("webhook", "libcurl is out of memory");
        abort();
    }
    add_headers(r);
    set_options(r, h->ca_file);
    list_append(&h->requests, &r->link);
    curl_multi_add_handle(h->multi, r->easy);
}

static void request_free(struct http_outlet *h, struct request *r)
{
    list_remove(&r->link);
    curl_multi_remove_handle(h->multi, r->easy);
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    free(r);
}

static void abort_all(struct outlet *outlet)
{
    struct http_outlet *h = list_of(outlet, struct http_outlet, outlet);
    while (!list_empty(&h->requests))
        request_free(h, list_of(h->requests.next, struct request, link));
}

/* ---- how they end ---- */

static const char *reason_of(CURLcode code, int status)
{
    if (status > 0)
        return "http_status";
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return "timeout";
    case CURLE_COULDNT_CONNECT:
        return "connect";
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "name_resolution";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
        return "tls";
    case CURLE_URL_MALFORMAT:
        return "bad_url";
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_HTTP2:
    case CURLE_GOT_NOTHING:
        return "no_http_response";
    default:
        return "network";
    }
}

static void finish(struct http_outlet *h, CURL *easy, CURLcode code)
{
    struct request *r;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &r);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    struct job *job = r->job;
    bool blocked = r->blocked;
    if (status < 200 || status > 999)
        status = 0;
    request_free(h, r);
    queue_finished(job, (int)status, blocked && status == 0 ? "address_blocked" : reason_of(code, (int)status));
}

/* How many have ended. */
static unsigned finish_all(struct http_outlet *h)
{
    unsigned ended = 0;
    int count;
    curl_multi_perform(h->multi, &count);
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &count)) != NULL;)
        if (m->msg == CURLMSG_DONE) {
            finish(h, m->easy_handle, m->data.result);
            ended++;
        }
    return ended;
}

void http_outlet_wait(struct outlet *outlet, int wait_ms)
{
    struct http_outlet *h = list_of(outlet, struct http_outlet, outlet);
    struct curl_waitfd inbox = {.fd = mailbox_fd(h->hooks->inbox), .events = CURL_WAIT_POLLIN};
    unsigned ended = finish_all(h); /* some do so at once: what they make possible must not wait */
    curl_multi_poll(h->multi, &inbox, 1, ended > 0 ? 0 : wait_ms, NULL);
    finish_all(h);
    /* Level triggered here, so it must be emptied. */
    ssize_t emptied = read(inbox.fd, &(uint64_t){0}, sizeof(uint64_t));
    (void)emptied; /* there may be nothing */
}

struct outlet *http_outlet_new(struct webhooks *w)
{
    struct http_outlet *h = mem_new(struct http_outlet);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    h->outlet = (struct outlet){http_send, abort_all};
    h->hooks = w;
    h->ca_file = getenv("SSL_CERT_FILE");
    h->multi = curl_multi_init();
    list_init(&h->requests);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    return &h->outlet;
}

void http_outlet_free(struct outlet *outlet)
{
    struct http_outlet *h = list_of(outlet, struct http_outlet, outlet);
    abort_all(outlet);
    curl_multi_cleanup(h->multi);
    free(h);
}

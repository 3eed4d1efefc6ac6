/* redis.c - where Redis is: the parts of database.redis, or a URL that stands for some of them (chapter 5, 2.3).
 *
 *      redis[s]://[user[:password]@]host[:port][/db]       user, password percent-encoded; [v6] in brackets; rediss = TLS
 *
 * database.redis.host may be such a URL: what it says wins, what it leaves out comes from the other keys. A URL of a user of Redis
 * (adapter.redis.redis_pub_options.url) does the same on top of that, and puts the Sentinels aside.
 *
 * A URL may hold a password: no message shows it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "base/json.h"
#include "base/json_scan.h"

enum { SENTINEL_PORT = 26379, TOPICS_MAX = 4096 };

/* Absent if it is malformed. */
static struct str percent_decode(struct str text, struct arena *arena)
{
    char *out = arena_alloc(arena, text.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '%') {
            out[n++] = text.p[i];
            continue;
        }
        int high = i + 2 < text.n ? json_hex_digit(text.p[i + 1]) : -1, low = i + 2 < text.n ? json_hex_digit(text.p[i + 2]) : -1;
        if (high < 0 || low < 0)
            return STR_NONE;
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    return memchr(out, '\0', n) == NULL ? str_make(out, n) : STR_NONE;
}

static const char *take_credentials(struct redis_config *r, struct str text, struct arena *arena)
{
    struct str password = text, user = str_split(&password, ':');
    user = percent_decode(user, arena);
    if (user.p == NULL)
        return "has a malformed user name";
    r->username = user.n > 0 ? user : STR_NONE;
    if (password.p == NULL)
        return NULL;
    r->password = percent_decode(password, arena);
    return r->password.p != NULL ? NULL : "has a malformed password";
}

static const char *take_port(struct redis_config *r, struct str text)
{
    uint64_t port;
    if (!str_to_u64(text, &port) || port == 0 || port > UINT16_MAX)
        return "has a port that is no number from 1 to 65535";
    r->port = (uint16_t)port;
    return NULL;
}

static const char *take_place(struct redis_config *r, struct str text, struct arena *arena)
{
    struct str host = text, port = STR_NONE;
    if (text.n > 0 && text.p[0] == '[') {
        ptrdiff_t end = str_index(text, ']');
        if (end < 0)
            return "has a [ without its ]";
        host = str_make(text.p + 1, (size_t)end - 1);
        port = str_from(text, (size_t)end + 1);
        if (port.n > 0 && port.p[0] != ':')
            return "has something other than a port behind its ]";
        port = port.n > 0 ? str_from(port, 1) : STR_NONE;
    } else if (str_index(text, ':') >= 0) {
        port = text;
        host = str_split(&port, ':');
    }
    if (host.n == 0)
        return "names no host";
    r->host = arena_copy(arena, host);
    return port.p != NULL ? take_port(r, port) : NULL;
}

static const char *take_database(struct redis_config *r, struct str text)
{
    uint64_t number;
    if (text.n == 0)
        return NULL;
    if (!str_to_u64(text, &number) || number > UINT32_MAX)
        return "has a database that is no number";
    r->db = (uint32_t)number;
    return NULL;
}

static ptrdiff_t last_index(struct str text, char c)
{
    ptrdiff_t at = (ptrdiff_t)text.n - 1;
    while (at >= 0 && text.p[at] != c)
        at--;
    return at;
}

/* NULL, or what is wrong with it. */
static const char *apply_url(struct redis_config *r, struct str url, struct arena *arena)
{
    const char *problem;
    ptrdiff_t scheme = str_find(url, STR("://"));
    struct str name = str_first(url, scheme < 0 ? 0 : (size_t)scheme);
    if (!str_eq(name, STR("redis")) && !str_eq(name, STR("rediss")))
        return "does not begin with redis:// or rediss://";
    if (str_eq(name, STR("rediss")))
        r->master_tls.enabled = true;
    struct str database = str_from(url, (size_t)scheme + 3), place = str_split(&database, '/');
    ptrdiff_t at = last_index(place, '@');
    if (at >= 0 && (problem = take_credentials(r, str_first(place, (size_t)at), arena)) != NULL)
        return problem;
    problem = take_place(r, str_from(place, (size_t)(at + 1)), arena);
    return problem != NULL ? problem : take_database(r, database.p != NULL ? database : STR(""));
}

static bool is_url(struct str host)
{
    return str_find(host, STR("://")) >= 0;
}

static struct str url_of_adapter(struct loader *l)
{
    struct str pub = load_text(l, "adapter.redis.redis_pub_options.url"), sub = load_text(l, "adapter.redis.redis_sub_options.url");
    return pub.n > 0 ? pub : sub.n > 0 ? sub : STR_NONE;
}

static void derive_sentinels(struct loader *l, struct redis_config *r)
{
    struct arena *arena = &l->config->arena;
    struct str list = load_text(l, "database.redis.sentinels"), item;
    struct json_iter it = json_iter(list);
    r->sentinels = arena_zalloc(arena, (list.n / 2 + 1) * sizeof *r->sentinels);
    while (json_next_item(&it, &item)) {
        struct buf scratch = {0};
        struct redis_address *a = &r->sentinels[r->sentinels_count++];
        struct str host = json_text(json_get(item, STR("host")), &scratch), port = json_get(item, STR("port"));
        uint64_t number = SENTINEL_PORT;
        a->host = host.p != NULL ? arena_copy(arena, host) : STR("localhost");
        if (port.p != NULL && (!str_to_u64(port, &number) || number > UINT16_MAX))
            number = 0; /* refused by validate_redis() */
        a->port = (uint16_t)number;
        buf_free(&scratch);
    }
}

/* database.redis, with what a URL of one of its users says on top. */
static struct redis_config derived(struct loader *l, struct str url)
{
    struct redis_config redis = l->config->redis;
    if (url.n > 0) {
        redis.sentinels_count = 0;
        apply_url(&redis, url, &l->config->arena);
    }
    return redis;
}

void derive_redis(struct loader *l)
{
    struct config *c = l->config;
    struct redis_config *r = &c->redis;
    struct str host = r->host, url = url_of_adapter(l);
    r->master_tls.accept_invalid_certs |= load_is(l, "database.redis.master_tls.acceptInvalidCerts", "true");
    r->sentinel_tls.accept_invalid_certs |= load_is(l, "database.redis.sentinel_tls.acceptInvalidCerts", "true");
    derive_sentinels(l, r);
    if (is_url(host))
        apply_url(r, host, &c->arena);
    c->adapter.redis = derived(l, url);
    c->cache.redis_driver = load_is(l, "cache.driver", "redis");
    c->cache.redis = derived(l, load_text(l, "cache.redis.url_override"));
    c->rate_limiter.redis_driver = c->rate_limiter.enabled && load_is(l, "rate_limiter.driver", "redis");
    c->rate_limiter.redis = derived(l, load_text(l, "rate_limiter.redis.url_override"));
}

/* ---- what is wrong ---- */

#define FAIL(l, ...) load_fail(l, "Configuration validation failed: " __VA_ARGS__)

static bool check_url(struct loader *l, const char *path, struct str url)
{
    struct redis_config scratch = {0};
    const char *problem = url.n > 0 ? apply_url(&scratch, url, &l->config->arena) : NULL;
    return problem == NULL || FAIL(l, "%s %s", path, problem);
}

static bool check_tls(struct loader *l, const char *section, const struct tls_options *tls)
{
    if (tls->enabled && (tls->client_cert_path.n > 0) != (tls->client_key_path.n > 0))
        return FAIL(l, "%s.client_cert_path and client_key_path are only of use together", section);
    return true;
}

static bool check_sentinels(struct loader *l)
{
    const struct redis_config *r = &l->config->redis;
    for (size_t i = 0; i < r->sentinels_count; i++) {
        if (r->sentinels[i].host.n == 0)
            return FAIL(l, "database.redis.sentinels[%zu].host must not be empty", i);
        if (r->sentinels[i].port == 0)
            return FAIL(l, "database.redis.sentinels[%zu].port must be a number from 1 to 65535", i);
    }
    return r->sentinels_count == 0 || r->name.n > 0 || FAIL(l, "database.redis.sentinels need database.redis.name");
}

static bool check_urls(struct loader *l)
{
    struct str pub = load_text(l, "adapter.redis.redis_pub_options.url"), sub = load_text(l, "adapter.redis.redis_sub_options.url");
    struct str host = load_text(l, "database.redis.host");
    if (pub.n > 0 && sub.n > 0 && !str_eq(pub, sub))
        return FAIL(l, "adapter.redis.redis_pub_options.url and redis_sub_options.url must be equal: what is published at one "
                       "server does not reach the subscribers of another");
    return check_url(l, "adapter.redis.redis_pub_options.url", pub) && check_url(l, "adapter.redis.redis_sub_options.url", sub) &&
           (!is_url(host) || check_url(l, "database.redis.host", host));
}

static bool check_place(struct loader *l, const struct redis_config *r)
{
    if (r->sentinels_count == 0 && (r->host.n == 0 || r->port == 0))
        return FAIL(l, "database.redis.host must not be empty, database.redis.port not 0");
    if (r->username.n > 0 && r->password.n == 0)
        return FAIL(l, "database.redis.username needs database.redis.password");
    return check_tls(l, "database.redis.master_tls", &r->master_tls) && check_tls(l, "database.redis.sentinel_tls", &r->sentinel_tls);
}

static bool check_adapter(struct loader *l)
{
    if (l->config->adapter.topics == 0 || l->config->adapter.topics > TOPICS_MAX)
        return FAIL(l, "adapter.topics must be from 1 to %d", TOPICS_MAX);
    if (!l->config->adapter.cluster_health_enabled)
        return FAIL(l, "adapter.cluster_health.enabled must be true: the nodes know of each other by it");
    if (l->config->adapter.node_timeout_ms > UINT32_MAX)
        return FAIL(l, "adapter.cluster_health.node_timeout_ms must be at most %u", UINT32_MAX);
    return check_urls(l) && check_sentinels(l) && check_place(l, &l->config->adapter.redis);
}

static bool check_user(struct loader *l, const char *path, const struct redis_config *r)
{
    struct str host = load_text(l, "database.redis.host");
    return check_url(l, path, load_text(l, path)) && (!is_url(host) || check_url(l, "database.redis.host", host)) && check_sentinels(l) &&
           check_place(l, r);
}

/* Of the keys that only matter with a Redis: a file for one node may hold what it likes. */
bool validate_redis(struct loader *l)
{
    const struct config *c = l->config;
    return (!c->adapter.redis_driver || check_adapter(l)) &&
           (!c->cache.redis_driver || check_user(l, "cache.redis.url_override", &c->cache.redis)) &&
           (!c->rate_limiter.redis_driver || check_user(l, "rate_limiter.redis.url_override", &c->rate_limiter.redis));
}

/* token.c - the compact form of a JWT, checked from the outside in: size, header, signature, and only then what it claims.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/token.h"

#include "base/json.h"

static const char malformed[] = "capability token is malformed";

/* ---- the three parts ---- */

/* base64url(JSON object) -> the object, in the arena; absent if it is something else. */
static struct str read_part(struct str part, struct arena *arena)
{
    struct buf text = {0};
    struct str copy = STR_NONE, value;
    if (base64url_decode(&text, part))
        copy = arena_copy(arena, buf_view(&text));
    buf_free(&text);
    return copy.p != NULL && json_check(copy, &value, NULL) && json_is(value, JSON_OBJECT) ? value : STR_NONE;
}

static const char *check_header(const struct app *app, struct str part, struct arena *arena)
{
    struct str header = read_part(part, arena);
    if (header.p == NULL)
        return malformed;
    if (!str_eq(json_text_in(json_get(header, STR("alg")), arena), STR("HS256")))
        return "capability token alg must be HS256";
    if (!str_eq(json_text_in(json_get(header, STR("kid")), arena), app->key))
        return "capability token kid must be the app key";
    return json_has(header, STR("crit")) ? "capability token has an unknown critical extension" : NULL;
}

static bool is_signed(struct app *app, unsigned shard, struct str signed_part, struct str signature)
{
    unsigned char ours[SHA256_SIZE];
    struct buf theirs = {0};
    hmac_sha256(app->hmac[shard], signed_part, ours);
    bool good = base64url_decode(&theirs, signature) && str_eq_secret(buf_view(&theirs), str_make(ours, sizeof ours));
    buf_free(&theirs);
    return good;
}

/* ---- the claims ---- */

static const char *check_times(struct str claims, int64_t now_s, struct token *out)
{
    int64_t iat, exp, nbf = 0, life;
    bool has_nbf = json_has(claims, STR("nbf"));
    if (!json_i64(json_get(claims, STR("iat")), &iat))
        return "capability token iat must be a number of seconds";
    if (!json_i64(json_get(claims, STR("exp")), &exp))
        return "capability token exp must be a number of seconds";
    if (has_nbf && !json_i64(json_get(claims, STR("nbf")), &nbf))
        return "capability token nbf must be a number of seconds";
    if (iat > now_s + TOKEN_LEEWAY_S)
        return "capability token iat is in the future";
    if (has_nbf && nbf > now_s + TOKEN_LEEWAY_S)
        return "capability token is not valid yet";
    if (exp <= now_s - TOKEN_LEEWAY_S)
        return "capability token expired";
    if (__builtin_sub_overflow(exp, iat, &life) || life > TOKEN_LIFE_MAX_S)
        return "capability token lifetime exceeds 86400 seconds";
    out->exp_s = exp;
    return NULL;
}

static bool is_name(struct str text)
{
    return text.n > 0 && text.n <= TOKEN_NAME_MAX;
}

static const char *check_names(struct str claims, struct arena *arena, struct token *out)
{
    out->client_id = json_text_in(json_get(claims, STR("x-sockudo-client-id")), arena);
    out->jti = json_text_in(json_get(claims, STR("jti")), arena);
    if (!is_name(out->client_id))
        return "capability token x-sockudo-client-id must be 1..=128 bytes";
    return is_name(out->jti) ? NULL : "capability token jti must be 1..=128 bytes";
}

static const char *read_capability(struct str claims, struct arena *arena, struct token *out)
{
    const char *wrong;
    struct str value = json_get(claims, STR("x-sockudo-capability"));
    if (json_is(value, JSON_STRING) && !json_check(json_text_in(json_get(claims, STR("x-sockudo-capability")), arena), &value, NULL))
        value = STR_NONE;
    out->may = capabilities_of_token(value, &wrong);
    return wrong;
}

const char *token_read(struct app *app, unsigned shard, struct str jwt, int64_t now_s, struct arena *arena,
                       struct token *out)
{
    *out = (struct token){0};
    if (jwt.n > TOKEN_SIZE_MAX)
        return "capability token is larger than 8192 bytes";
    struct str signature = jwt, header = str_split(&signature, '.');
    struct str claims_part = signature.p != NULL ? str_split(&signature, '.') : STR_NONE;
    if (signature.p == NULL)
        return malformed;
    const char *wrong = check_header(app, header, arena);
    if (wrong != NULL)
        return wrong;
    if (!is_signed(app, shard, str_first(jwt, header.n + 1 + claims_part.n), signature))
        return "capability token signature is invalid";
    struct str claims = read_part(claims_part, arena);
    if (claims.p == NULL)
        return malformed;
    wrong = check_names(claims, arena, out);
    if (wrong == NULL)
        wrong = check_times(claims, now_s, out);
    return wrong == NULL ? read_capability(claims, arena, out) : wrong;
}

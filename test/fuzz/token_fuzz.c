/* token_fuzz.c - nothing but what we signed is taken, and what is taken keeps the limits.
 *
 * The input is a token as it stands; and a header and claims, parted by the first zero byte, that are signed with the app's secret, so that
 * what lies behind the signature is reached.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "app/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1790000000 };

static struct app *the_app(void)
{
    static struct hmac_key *keys[1];
    static struct app app = {.id = STR("7"), .key = STR("k"), .hmac = keys};
    if (keys[0] == NULL)
        keys[0] = hmac_key_new(STR("s3cr3t"));
    return &app;
}

static void require(bool ok)
{
    if (!ok)
        abort();
}

static bool is_taken(struct str jwt)
{
    struct arena arena = {0};
    struct token token;
    const char *wrong = token_read(the_app(), 0, jwt, NOW, &arena, &token);
    require((wrong == NULL) == (token.may != NULL));
    if (wrong == NULL) {
        require(jwt.n <= TOKEN_SIZE_MAX && token.exp_s > NOW - TOKEN_LEEWAY_S);
        require(token.client_id.n > 0 && token.client_id.n <= TOKEN_NAME_MAX && str_is_utf8(token.client_id));
        require(token.jti.n > 0 && token.jti.n <= TOKEN_NAME_MAX && str_is_utf8(token.jti));
        for (int operation = 0; operation < CAPABILITIES; operation++)
            capabilities_allow(token.may, operation, token.client_id);
    }
    capabilities_free(token.may);
    arena_free(&arena);
    return wrong == NULL;
}

static void sign(struct buf *out, struct str header, struct str claims)
{
    unsigned char mac[SHA256_SIZE];
    base64url_put(out, header);
    buf_char(out, '.');
    base64url_put(out, claims);
    hmac_sha256(the_app()->hmac[0], buf_view(out), mac);
    buf_char(out, '.');
    base64url_put(out, str_make(mac, sizeof mac));
}

/* Every byte of the signature counts. */
static void try_forged(struct buf *jwt, uint8_t salt)
{
    size_t at = jwt->n - 1 - salt % 43;
    jwt->p[at] = jwt->p[at] == 'A' ? 'B' : 'A';
    require(!is_taken(buf_view(jwt)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str claims = str_make(data ? data : (const uint8_t *)"", size);
    require(!is_taken(claims)); /* nobody guesses a signature */
    struct str header = str_split(&claims, '\0');
    struct buf jwt = {0};
    sign(&jwt, header, claims.p != NULL ? claims : STR(""));
    is_taken(buf_view(&jwt));
    try_forged(&jwt, size > 0 ? data[0] : 0);
    buf_free(&jwt);
    return 0;
}

/* token_test.c - which tokens are taken (chapter 4, 4.3 and case 37; AIT-S78).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_fixture.h"

#include "app/token.h"
#include "mint.h"

enum { NOW = 1790000000 };

#define HEADER "{\"alg\":\"HS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}"
#define WHO "\"x-sockudo-client-id\":\"c1\",\"jti\":\"j1\""
#define MAY "\"x-sockudo-capability\":{\"room:*\":[\"subscribe\",\"publish\"]}"
#define TIMES "\"iat\":1790000000,\"exp\":1790003600"
#define CLAIMS "{" WHO "," MAY "," TIMES "}"

static const char *read(struct fixture *f, struct str jwt)
{
    struct token token;
    const char *wrong = token_read(f->app, 0, jwt, NOW, &f->arena, &token);
    capabilities_free(token.may);
    return wrong;
}

static void a_good_token_says_who_and_what(void **state)
{
    struct fixture *f = *state;
    struct token token;
    assert_null(token_read(f->app, 1, mint(STR("s3cr3t"), HEADER, CLAIMS), NOW, &f->arena, &token));
    assert_str(token.client_id, "c1");
    assert_str(token.jti, "j1");
    assert_int_equal(token.exp_s, 1790003600);
    assert_true(capabilities_allow(token.may, MAY_PUBLISH, STR("room:1")));
    assert_false(capabilities_allow(token.may, MAY_HISTORY, STR("room:1")));
    capabilities_free(token.may);
}

static void the_capability_may_stand_in_a_string(void **state)
{
    struct fixture *f = *state;
    struct token token;
    const char *claims = "{" WHO "," TIMES ",\"x-sockudo-capability\":\"{\\\"*\\\":[\\\"history\\\"]}\"}";
    assert_null(token_read(f->app, 0, mint(STR("s3cr3t"), HEADER, claims), NOW, &f->arena, &token));
    assert_true(capabilities_allow(token.may, MAY_HISTORY, STR("x")));
    assert_false(capabilities_allow(token.may, MAY_SUBSCRIBE, STR("x")));
    capabilities_free(token.may);
}

static void headers(void **state)
{
    static const struct {
        const char *header, *wrong;
    } table[] = {
        {HEADER, NULL},
        {"{\"kid\":\"k1\",\"alg\":\"HS256\"}", NULL},
        {"{\"alg\":\"none\",\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"alg\":\"hs256\",\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"alg\":\"HS384\",\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"alg\":\"RS256\",\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"alg\":[\"HS256\"],\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"kid\":\"k1\"}", "alg must be HS256"},
        {"{\"alg\":\"HS256\"}", "kid must be the app key"},
        {"{\"alg\":\"HS256\",\"kid\":\"k2\"}", "kid must be the app key"},
        {"{\"alg\":\"HS256\",\"kid\":\"K1\"}", "kid must be the app key"},
        {"{\"alg\":\"HS256\",\"kid\":\"k1\",\"crit\":[\"b64\"]}", "critical extension"},
        {"[]", "malformed"},
        {"{\"alg\":\"HS256\"", "malformed"},
        {"", "malformed"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *wrong = read(*state, mint(STR("s3cr3t"), table[i].header, CLAIMS));
        if (table[i].wrong == NULL ? wrong != NULL : wrong == NULL || strstr(wrong, table[i].wrong) == NULL)
            fail_msg("%s: %s", table[i].header, wrong ? wrong : "accepted");
    }
}

static const struct {
    const char *claims, *wrong;
} bad_claims[] = {
    {CLAIMS, NULL},
    {"[]", "malformed"},
    {"{" MAY "," TIMES ",\"jti\":\"j\"}", "x-sockudo-client-id must be"},
    {"{" MAY "," TIMES ",\"jti\":\"j\",\"x-sockudo-client-id\":\"\"}", "x-sockudo-client-id must be"},
    {"{" MAY "," TIMES ",\"jti\":\"j\",\"x-sockudo-client-id\":7}", "x-sockudo-client-id must be"},
    {"{" MAY "," TIMES ",\"jti\":\"j\",\"x-sockudo-client-id\":\"*\"}", NULL},
    {"{" MAY "," TIMES ",\"x-sockudo-client-id\":\"c\"}", "jti must be"},
    {"{" MAY "," TIMES ",\"x-sockudo-client-id\":\"c\",\"jti\":\"\"}", "jti must be"},
    {"{" MAY "," TIMES ",\"x-sockudo-client-id\":\"c\",\"jti\":null}", "jti must be"},
    {"{" WHO "," TIMES "}", "x-sockudo-capability must be an object"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":\"x\"}", "x-sockudo-capability must be an object"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":[]}", "x-sockudo-capability must be an object"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":{\"\":[\"publish\"]}}", "empty pattern"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":{\"a\":[\"fly\"]}}", "unknown operation"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":{\"a\":\"publish\"}}", "arrays of operations"},
    {"{" WHO "," TIMES ",\"x-sockudo-capability\":{}}", NULL},
    /* times; now is 1790000000 */
    {"{" WHO "," MAY ",\"exp\":1790003600}", "iat must be a number"},
    {"{" WHO "," MAY ",\"iat\":1790000000}", "exp must be a number"},
    {"{" WHO "," MAY ",\"iat\":\"1790000000\",\"exp\":1790003600}", "iat must be a number"},
    {"{" WHO "," MAY ",\"iat\":1790000000,\"exp\":1790003600.5}", "exp must be a number"},
    {"{" WHO "," MAY ",\"iat\":1790000030,\"exp\":1790003600}", NULL},
    {"{" WHO "," MAY ",\"iat\":1790000031,\"exp\":1790003600}", "iat is in the future"},
    {"{" WHO "," MAY ",\"iat\":1789999000,\"exp\":1789999971}", NULL},
    {"{" WHO "," MAY ",\"iat\":1789999000,\"exp\":1789999970}", "capability token expired"},
    {"{" WHO "," MAY ",\"iat\":1790000000,\"exp\":1790086400}", NULL},
    {"{" WHO "," MAY ",\"iat\":1790000000,\"exp\":1790086401}", "lifetime exceeds 86400"},
    {"{" WHO "," MAY ",\"iat\":-9223372036854775808,\"exp\":1790000100}", "lifetime exceeds 86400"},
    {"{" WHO "," MAY "," TIMES ",\"nbf\":1790000029}", NULL},
    {"{" WHO "," MAY "," TIMES ",\"nbf\":1790000030}", NULL},
    {"{" WHO "," MAY "," TIMES ",\"nbf\":1790000031}", "not valid yet"},
    {"{" WHO "," MAY "," TIMES ",\"nbf\":\"0\"}", "nbf must be a number"},
};

static void claims(void **state)
{
    for (size_t i = 0; i < sizeof bad_claims / sizeof *bad_claims; i++) {
        const char *wrong = read(*state, mint(STR("s3cr3t"), HEADER, bad_claims[i].claims));
        if (bad_claims[i].wrong == NULL ? wrong != NULL : wrong == NULL || strstr(wrong, bad_claims[i].wrong) == NULL)
            fail_msg("%s: %s", bad_claims[i].claims, wrong ? wrong : "accepted");
    }
}

/* 128 bytes fit, 129 do not; what counts is the decoded text. */
static void names_have_a_longest_size(void **state)
{
    for (int n = TOKEN_NAME_MAX; n <= TOKEN_NAME_MAX + 1; n++) {
        struct buf text = {0};
        buf_lit(&text, "{" MAY "," TIMES ",\"x-sockudo-client-id\":\"\\u0063");
        for (int i = 1; i < n; i++)
            buf_char(&text, 'c');
        buf_lit(&text, "\",\"jti\":\"j\"}");
        buf_char(&text, '\0');
        assert_int_equal(read(*state, mint(STR("s3cr3t"), HEADER, text.p)) == NULL, n == TOKEN_NAME_MAX);
        buf_free(&text);
    }
}

/* Every byte of a token counts: a token has no second spelling. */
static void a_changed_byte_makes_it_worthless(void **state)
{
    struct str good = mint(STR("s3cr3t"), HEADER, CLAIMS);
    char *text = (char *)(uintptr_t)good.p;
    assert_null(read(*state, good));
    for (size_t i = 0; i < good.n; i++) {
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        assert_non_null(read(*state, good));
        text[i] = was;
    }
    for (size_t n = 0; n < good.n; n++)
        assert_non_null(read(*state, str_first(good, n)));
}

static void parts_are_three(void **state)
{
    static const char *const bad[] = {"", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "x"};
    struct str good = mint(STR("s3cr3t"), HEADER, CLAIMS);
    char more[2048];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(read(*state, str_of(bad[i])));
    snprintf(more, sizeof more, "%.*s.", STR_ARG(good));
    assert_non_null(read(*state, str_of(more)));
    snprintf(more, sizeof more, "%.*s=", STR_ARG(good));
    assert_non_null(read(*state, str_of(more)));
}

static void another_apps_secret_is_no_use(void **state)
{
    assert_string_equal(read(*state, mint(STR("other"), HEADER, CLAIMS)), "capability token signature is invalid");
}

static void a_token_has_a_largest_size(void **state)
{
    struct buf text = {0};
    buf_lit(&text, "{" WHO "," MAY "," TIMES ",\"pad\":\"");
    size_t head = text.n;
    for (int pad = 5500; pad <= 6500; pad += 1000) {
        text.n = head;
        for (int i = 0; i < pad; i++)
            buf_char(&text, 'x');
        buf_lit(&text, "\"}");
        buf_char(&text, '\0');
        struct str jwt = mint(STR("s3cr3t"), HEADER, text.p);
        assert_int_equal(read(*state, jwt) == NULL, jwt.n <= TOKEN_SIZE_MAX);
    }
    buf_free(&text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_good_token_says_who_and_what),
        T(the_capability_may_stand_in_a_string),
        T(headers),
        T(claims),
        T(names_have_a_longest_size),
        T(a_changed_byte_makes_it_worthless),
        T(parts_are_three),
        T(another_apps_secret_is_no_use),
        T(a_token_has_a_largest_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

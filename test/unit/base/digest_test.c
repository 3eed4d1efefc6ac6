/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"
#include "../support/unit.h"

static void hmac_of(struct str secret, struct str message, char out[65])
{
    struct hmac_key *key = hmac_key_new(secret);
    hmac_sha256_hex(key, message, out);
    hmac_key_free(key);
}

/* RFC 4231, cases 2 and 6 (a key longer than a block). */
static void hmac_agrees_with_the_rfc(void **state)
{
    char out[65], long_key[131];
    hmac_of(STR("Jefe"), STR("what do ya want for nothing?"), out);
    assert_string_equal(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(long_key, 0xaa, sizeof long_key);
    hmac_of(str_make(long_key, sizeof long_key),
            STR("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_string_equal(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void a_key_serves_many_messages(void **state)
{
    char first[65], again[65], other[65];
    struct hmac_key *key = hmac_key_new(STR("secret"));
    hmac_sha256_hex(key, STR("one"), first);
    hmac_sha256_hex(key, STR("two"), other);
    hmac_sha256_hex(key, STR("one"), again);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    hmac_key_free(key);
}

static void two_keys_at_once_do_not_mix(void **state)
{
    char a1[65], a2[65];
    struct hmac_key *a = hmac_key_new(STR("a")), *b = hmac_key_new(STR("b"));
    hmac_sha256_hex(a, STR("m"), a1);
    hmac_sha256_hex(b, STR("m"), a2);
    hmac_sha256_hex(a, STR("m"), a2);
    assert_string_equal(a1, a2);
    hmac_key_free(a);
    hmac_key_free(b);
}

static void an_empty_secret_and_an_empty_message_are_legal(void **state)
{
    char out[65];
    hmac_of(STR_NONE, STR_NONE, out);
    assert_string_equal(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void digests_agree_with_known_values(void **state)
{
    char md5[33];
    unsigned char raw[SHA256_SIZE];
    struct buf hex = {0};
    md5_hex(STR("abc"), md5);
    assert_string_equal(md5, "900150983cd24fb0d6963f7d28e17f72");
    md5_hex(STR_NONE, md5);
    assert_string_equal(md5, "d41d8cd98f00b204e9800998ecf8427e");
    sha256(STR("abc"), raw);
    hex_put(&hex, raw, sizeof raw);
    assert_str(buf_view(&hex), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    buf_free(&hex);
}

static void base64_pads_and_base64url_does_not(void **state)
{
    struct buf b = {0};
    base64_put(&b, STR("\xfb\xff\xfe"));
    base64_put(&b, STR("f"));
    base64_put(&b, STR("fo"));
    base64_put(&b, STR_NONE);
    assert_str(buf_view(&b), "+//+Zg==Zm8=");
    buf_clear(&b);
    base64url_put(&b, STR("\xfb\xff\xfe"));
    base64url_put(&b, STR("f"));
    assert_str(buf_view(&b), "-__-Zg");
    buf_free(&b);
}

static void base64url_round_trips_every_length(void **state)
{
    char bytes[64];
    for (int i = 0; i < 64; i++)
        bytes[i] = (char)(i * 37);
    for (size_t n = 0; n <= 64; n++) {
        struct buf text = {0}, back = {0};
        base64url_put(&text, str_make(bytes, n));
        assert_true(base64url_decode(&back, buf_view(&text)));
        assert_true(str_eq(buf_view(&back), str_make(bytes, n)));
        buf_free(&text);
        buf_free(&back);
    }
}

/* A token with two spellings could be revoked in one and used in the other. */
static void base64url_refuses_what_is_not_canonical(void **state)
{
    struct buf b = {0};
    buf_lit(&b, "kept");
    assert_false(base64url_decode(&b, STR("Zg==")));
    assert_false(base64url_decode(&b, STR("Zh")));
    assert_false(base64url_decode(&b, STR("Z")));
    assert_false(base64url_decode(&b, STR("+/+/")));
    assert_false(base64url_decode(&b, STR("Zg\n")));
    assert_str(buf_view(&b), "kept");
    buf_free(&b);
}

static void hash128_tells_texts_apart_and_repeats_itself(void **state)
{
    assert_true(hash128_eq(hash128(STR("a")), hash128(STR("a"))));
    assert_false(hash128_eq(hash128(STR("a")), hash128(STR("b"))));
    assert_false(hash128_is_zero(hash128(STR_NONE)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac_agrees_with_the_rfc),
        cmocka_unit_test(a_key_serves_many_messages),
        cmocka_unit_test(two_keys_at_once_do_not_mix),
        cmocka_unit_test(an_empty_secret_and_an_empty_message_are_legal),
        cmocka_unit_test(digests_agree_with_known_values),
        cmocka_unit_test(base64_pads_and_base64url_does_not),
        cmocka_unit_test(base64url_round_trips_every_length),
        cmocka_unit_test(base64url_refuses_what_is_not_canonical),
        cmocka_unit_test(hash128_tells_texts_apart_and_repeats_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* binary_test.c - the binary formats, against bytes written out by hand (chapter 1, section 9).
 *
 * Bytes are shown as hex, texts in between as they are: "91 a1 'e'".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/json.h"
#include "wire/format.h"

static struct arena arena;

static int forget(void **state)
{
    arena_free(&arena);
    return 0;
}

/* "91 'text' c0" as bytes. */
static struct str bytes(const char *vector)
{
    struct buf out = {0};
    for (const char *p = vector; *p;) {
        if (*p == '\'') {
            for (p++; *p != '\''; p++)
                buf_char(&out, *p);
            p++;
        } else if (isspace((unsigned char)*p)) {
            p++;
        } else {
            char digits[3] = {p[0], p[1], 0};
            assert_true(isxdigit((unsigned char)p[0]) && isxdigit((unsigned char)p[1]));
            buf_char(&out, (char)strtol(digits, NULL, 16));
            p += 2;
        }
    }
    struct str copy = arena_copy(&arena, buf_view(&out));
    buf_free(&out);
    return copy;
}

static struct str hex(struct str s)
{
    struct buf out = {0};
    for (size_t i = 0; i < s.n; i++)
        buf_fmt(&out, "%02x ", (unsigned char)s.p[i]);
    struct str copy = arena_copy(&arena, buf_view(&out));
    buf_free(&out);
    return copy;
}

static struct str convert(const char *json, enum wire_format format, enum data_form form)
{
    struct frame *text = frame_new(FRAME_TEXT, str_of(json));
    struct frame *f = frame_convert(text, format, form);
    struct str wire = frame_wire(f), payload = frame_payload(f);
    assert_int_equal((unsigned char)wire.p[0], 0x80 | FRAME_BINARY);
    assert_true(payload.n < 126 ? (size_t)wire.p[1] == payload.n : (unsigned char)wire.p[1] >= 126);
    struct str copy = arena_copy(&arena, payload);
    frame_drop(text);
    frame_drop(f);
    return copy;
}

static void check(struct str actual, const char *vector, int line)
{
    unit_assert_str(hex(actual), hex(bytes(vector)), __FILE__, line);
}
#define assert_bytes(actual, vector) check((actual), (vector), __LINE__)

static enum data_form form;

static struct str json_of(struct str message, enum wire_format format)
{
    struct str json = STR_NONE;
    const char *wrong = binary_to_json(message, format, &arena, &json, &form);
    if (wrong)
        fail_msg("%s", wrong);
    assert_true(json_check(json, &json, NULL));
    return json;
}

static const char *refusal(const char *vector, enum wire_format format)
{
    struct str json;
    const char *wrong = binary_to_json(bytes(vector), format, &arena, &json, &form);
    assert_non_null(wrong);
    return wrong;
}

#define msgpack(vector) json_of(bytes(vector), FORMAT_MSGPACK)
#define protobuf(vector) json_of(bytes(vector), FORMAT_PROTOBUF)
#define msgpack_refuses(vector) refusal((vector), FORMAT_MSGPACK)
#define protobuf_refuses(vector) refusal((vector), FORMAT_PROTOBUF)

static const char append[] =
    "{\"event\":\"sockudo:message.append\",\"channel\":\"ai-1\",\"data\":\"a\\n\\u00e9\",\"name\":\"n\",\"user_id\":\"u\","
    "\"tags\":{\"k\":\"v\"},\"message_id\":\"m\",\"stream_id\":\"s\",\"serial\":300,\"extras\":{\"headers\":{\"h\":\"x\","
    "\"n\":12,\"b\":true},\"ai\":{\"transport\":{\"status\":\"streaming\"},\"codec\":{\"c\":\"d\"}},\"echo\":false,"
    "\"push\":{\"a\":[1,-2,1.5,null]}}}";

/* ---- out ---- */

static void every_field_of_a_message_has_its_position_in_messagepack(void **state)
{
    assert_bytes(convert(append, FORMAT_MSGPACK, DATA_JSON),
                 "9f b6'sockudo:message.append' a4'ai-1' 92 a6'string' a4'a'0a c3a9 a1'n' a1'u' 81 a1'k' a1'v' c0 c0 a1'm' a1's'"
                 "cd012c c0 84 a7'headers' 83 a1'h' 92 a6'string' a1'x' a1'n' 92 a6'number' cb4028000000000000 a1'b' 92 a4'bool' c3"
                 "a2'ai' 82 a9'transport' 81 a6'status' a9'streaming' a5'codec' 81 a1'c' a1'd' a4'echo' c2"
                 "a4'push' 81 a1'a' 94 01 fe cb3ff8000000000000 c0 c0 c0");
}

static void every_field_of_a_message_has_its_number_in_protobuf(void **state)
{
    assert_bytes(convert(append, FORMAT_PROTOBUF, DATA_JSON),
                 "0a 16'sockudo:message.append' 12 04'ai-1' 1a 06 0a 04'a'0a c3a9 22 01'n' 2a 01'u' 32 06 0a 01'k' 12 01'v'"
                 "4a 01'm' 52 01's' 58 ac02 6a 44"
                 "0a 08 0a 01'h' 12 03 0a 01'x' 0a 0e 0a 01'n' 12 09 11 0000000000002840 0a 07 0a 01'b' 12 02 18 01 20 00"
                 "2a 1d 0a 13 0a 06'status' 12 09'streaming' 12 06 0a 01'c' 12 01'd'");
}

/* Chapter 1, 9.2: what .NET and Flutter read. */
static void the_older_numbers_move_six_fields(void **state)
{
    assert_bytes(convert("{\"event\":\"e\",\"stream_id\":\"s\",\"serial\":7,\"idempotency_key\":\"i\",\"extras\":{\"echo\":true},"
                         "\"__delta_seq\":9,\"__conflation_key\":\"k\"}",
                         FORMAT_PROTOBUF_OLDER, DATA_JSON),
                 "0a 01'e' 50 07 5a 01'i' 62 02 20 01 68 09 72 01'k' 7a 01's'");
}

static void data_says_what_kind_it_is(void **state)
{
    static const struct {
        const char *data, *msgpack, *protobuf;
    } cases[] = {
        {"\"\"", "92 a6'string' a0", "0a 00"},
        {"\"{\\\"a\\\":1}\"", "92 a6'string' a7'{\"a\":1}'", "0a 07'{\"a\":1}'"},
        {"{ \"a\":1.0}", "92 a4'json' aa'{ \"a\":1.0}'", "1a 0a'{ \"a\":1.0}'"},
        {"null", "92 a4'json' a4'null'", "1a 04'null'"},
        {"[1,2]", "92 a4'json' a5'[1,2]'", "1a 05'[1,2]'"},
        {"\"a\\u0000b\"", "92 a6'string' a3'a'00'b'", "0a 03'a'00'b'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[64], vector[96];
        snprintf(json, sizeof json, "{\"data\":%s}", cases[i].data);
        snprintf(vector, sizeof vector, "9f c0 c0 %s c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0", cases[i].msgpack);
        assert_bytes(convert(json, FORMAT_MSGPACK, DATA_JSON), vector);
        struct str packed = convert(json, FORMAT_PROTOBUF, DATA_JSON);
        assert_bytes(str_from(packed, 2), cases[i].protobuf);
    }
}

static void bytes_stay_bytes_if_they_came_so(void **state)
{
    const char *json = "{\"data\":[0,255, 7]}";
    assert_bytes(str_first(convert(json, FORMAT_MSGPACK, DATA_BYTES), 16), "9f c0 c0 92 a6'binary' c403 00ff07");
    assert_bytes(convert(json, FORMAT_PROTOBUF, DATA_BYTES), "1a 05 22 03 00ff07");
    assert_bytes(convert("{\"data\":[]}", FORMAT_PROTOBUF, DATA_BYTES), "1a 02 22 00");
}

static void absent_fields_are_nil_or_not_written(void **state)
{
    assert_bytes(convert("{\"event\":\"sockudo:pong\"}", FORMAT_MSGPACK, DATA_JSON),
                 "9f ac'sockudo:pong' c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0 c0");
    assert_bytes(convert("{\"event\":\"sockudo:pong\"}", FORMAT_PROTOBUF, DATA_JSON), "0a 0c'sockudo:pong'");
}

/* ---- in ---- */

static void what_was_written_is_read_again(void **state)
{
    const char *expected =
        "{\"event\":\"sockudo:message.append\",\"channel\":\"ai-1\",\"data\":\"a\\n\303\251\",\"name\":\"n\",\"user_id\":\"u\","
        "\"tags\":{\"k\":\"v\"},\"message_id\":\"m\",\"stream_id\":\"s\",\"serial\":300,\"extras\":{\"headers\":{\"h\":\"x\","
        "\"n\":12,\"b\":true},";
    const char *msgpack_rest = "\"ai\":{\"transport\":{\"status\":\"streaming\"},\"codec\":{\"c\":\"d\"}},\"echo\":false,"
                               "\"push\":{\"a\":[1,-2,1.5,null]}}}";
    const char *protobuf_rest = "\"echo\":false,\"ai\":{\"transport\":{\"status\":\"streaming\"},\"codec\":{\"c\":\"d\"}}}}";
    char text[1024];
    snprintf(text, sizeof text, "%s%s", expected, msgpack_rest);
    unit_assert_str(json_of(convert(append, FORMAT_MSGPACK, DATA_JSON), FORMAT_MSGPACK), str_of(text), __FILE__, __LINE__);
    snprintf(text, sizeof text, "%s%s", expected, protobuf_rest);
    unit_assert_str(json_of(convert(append, FORMAT_PROTOBUF, DATA_JSON), FORMAT_PROTOBUF), str_of(text), __FILE__, __LINE__);
    unit_assert_str(json_of(convert(append, FORMAT_PROTOBUF_OLDER, DATA_JSON), FORMAT_PROTOBUF_OLDER), str_of(text), __FILE__,
                    __LINE__);
}

static void messagepack_may_be_a_short_array_or_a_map_by_name(void **state)
{
    assert_str(msgpack("91 a1'e'"), "{\"event\":\"e\"}");
    assert_str(msgpack("90"), "{}");
    assert_str(msgpack("dc0011 a1'e' c0c0c0c0c0c0c0c0c0c0c0c0c0c0 01 02"), "{\"event\":\"e\"}");
    assert_str(msgpack("85 a7'channel' a1'c' a5'event' a1'e' a5'other' 91 01 a9'delta_seq' 05 a6'serial' cf8000000000000000"),
               "{\"event\":\"e\",\"channel\":\"c\",\"serial\":9223372036854775808,\"__delta_seq\":5}");
}

static void structured_data_is_an_object_for_us(void **state)
{
    const char *all = "{\"data\":{\"channel_data\":\"cd\",\"channel\":\"c\",\"user_data\":\"ud\",\"rewind\":5,\"auth\":\"x\"}}";
    unit_assert_str(msgpack("93 c0 c0 92 aa'structured' 94 a2'cd' a1'c' a2'ud' 82 a6'rewind' a1'5' a4'auth' a3'\"x\"'"), str_of(all),
                    __FILE__, __LINE__);
    unit_assert_str(msgpack("81 a4'data' 92 aa'structured' 85 ac'channel_data' a2'cd' a7'channel' a1'c' a9'user_data' a2'ud'"
                            "a5'extra' 82 a6'rewind' a1'5' a4'auth' a3'\"x\"' a1'?' c0"),
                    str_of(all), __FILE__, __LINE__);
    unit_assert_str(protobuf("1a 27 12 25 0a 02'cd' 12 01'c' 1a 02'ud' 22 0b 0a 06'rewind' 12 01'5' 22 0b 0a 04'auth' 12 03'\"x\"'"),
                    str_of(all), __FILE__, __LINE__);
    assert_str(msgpack("93 c0 c0 92 aa'structured' 92 c0 a1'c'"), "{\"data\":{\"channel\":\"c\"}}");
}

static void bytes_are_an_array_of_numbers_for_us(void **state)
{
    assert_str(msgpack("93 a1'e' c0 92 a6'binary' c403 00ff07"), "{\"event\":\"e\",\"data\":[0,255,7]}");
    assert_int_equal(form, DATA_BYTES);
    assert_str(protobuf("0a 01'e' 1a 05 22 03 00ff07"), "{\"event\":\"e\",\"data\":[0,255,7]}");
    assert_int_equal(form, DATA_BYTES);
    assert_str(msgpack("93 a1'e' c0 92 a4'json' a3'[1]'"), "{\"event\":\"e\",\"data\":[1]}");
    assert_int_equal(form, DATA_JSON);
}

static void extras_may_be_a_map_or_the_positions_of_the_reference(void **state)
{
    const char *all = "{\"extras\":{\"headers\":{\"h\":\"x\",\"n\":-1,\"f\":0.1,\"b\":false},\"ephemeral\":true,"
                      "\"idempotencyKey\":\"i\",\"echo\":false,\"ai\":{\"transport\":{\"t\":\"1\"},\"codec\":{}}}}";
    unit_assert_str(msgpack("9d c0c0c0c0c0c0c0c0c0c0c0c0 95 84 a1'h' 92 a6'string' a1'x' a1'n' ff a1'f' 92 a6'number'"
                            "cb3fb999999999999a a1'b' c2 c3 a1'i' c2 92 81 a1't' a1'1' 80"),
                    str_of(all), __FILE__, __LINE__);
    unit_assert_str(msgpack("81 a6'extras' 86 a7'headers' 84 a1'h' a1'x' a1'n' 92 a6'number' ff a1'f' cb3fb999999999999a a1'b' 92"
                            "a4'bool' c2 a9'ephemeral' c3 af'idempotency_key' a1'i' a4'echo' c2 a2'ai' 82 a9'transport' 81 a1't' a1'1'"
                            "a5'codec' 80 a1'z' c0"),
                    str_of(all), __FILE__, __LINE__);
}

/* Chapter 1, 13.32, and the fields around it. */
static void field_ten_as_a_number_is_the_serial(void **state)
{
    assert_str(protobuf("0a 01'e' 50 07"), "{\"event\":\"e\",\"serial\":7}");
    assert_str(protobuf("0a 01'e' 52 01's' 58 07"), "{\"event\":\"e\",\"stream_id\":\"s\",\"serial\":7}");
    assert_str(protobuf("68 09"), "{\"__delta_seq\":9}");
    assert_str(protobuf("70 09"), "{\"__delta_seq\":9}");
    assert_str(protobuf("50 07 62 02 20 01 7a 01's'"), "{\"stream_id\":\"s\",\"serial\":7,\"extras\":{\"echo\":true}}");
    assert_str(json_of(bytes("62 02 20 01 7a 01's'"), FORMAT_PROTOBUF_OLDER), "{\"stream_id\":\"s\",\"extras\":{\"echo\":true}}");
    assert_str(json_of(bytes("58 07 6a 02 20 01"), FORMAT_PROTOBUF_OLDER), "{\"serial\":7,\"extras\":{\"echo\":true}}");
    assert_string_equal(protobuf_refuses("50 07 58 07"), "Protobuf message does not fit the envelope");
}

static void unknown_fields_of_protobuf_are_passed_over(void **state)
{
    assert_str(protobuf("0a 01'e' 8001 05 8a01 02'xy' 9101 0000000000000000 9d01 00000000"), "{\"event\":\"e\"}");
    assert_str(protobuf(""), "{}");
}

static void a_later_value_of_a_field_wins(void **state)
{
    assert_str(protobuf("0a 01'e' 0a 01'f'"), "{\"event\":\"f\"}");
    assert_str(protobuf("1a 03 0a 01'e' 1a 03 1a 01'5'"), "{\"data\":5}");
}

/* ---- what is refused ---- */

/* Chapter 1, 13.31. */
static void bytes_behind_the_value_are_refused(void **state)
{
    assert_string_equal(msgpack_refuses("91 a1'e' c0"), "trailing bytes after the MessagePack value");
    assert_string_equal(msgpack_refuses("91 a1'e' c1"), "trailing bytes after the MessagePack value");
    assert_string_equal(protobuf_refuses("0a 01'e' 00"), "Protobuf message is cut off or malformed");
}

static void what_is_cut_off_is_refused_at_every_length(void **state)
{
    for (unsigned format = FORMAT_MSGPACK; format < FORMATS; format++) {
        struct str whole = convert(append, format, DATA_JSON), json;
        unsigned refused = 0;
        for (size_t n = 0; n < whole.n; n++) {
            /* In memory of its own, so that a look behind the end is seen. */
            char *copy = malloc(n + 1);
            memcpy(copy, whole.p, n);
            refused += binary_to_json(str_make(copy, n), format, &arena, &json, &form) != NULL;
            free(copy);
        }
        /* Protobuf may end behind any field. */
        assert_true(format == FORMAT_MSGPACK ? refused == whole.n : refused > whole.n - 12);
    }
}

static void counts_that_the_message_cannot_hold_cost_nothing(void **state)
{
    assert_string_equal(msgpack_refuses("dd ffffffff c0"), "MessagePack value is cut off or malformed");
    assert_string_equal(msgpack_refuses("df ffffffff c0"), "MessagePack value is cut off or malformed");
    assert_string_equal(msgpack_refuses("91 db ffffffff 'a'"), "MessagePack value is cut off or malformed");
    assert_string_equal(msgpack_refuses("91 c6 ffffffff 'a'"), "MessagePack value is cut off or malformed");
    assert_string_equal(protobuf_refuses("0a ffffffffffffffff7f 'a'"), "Protobuf message is cut off or malformed");
    assert_string_equal(msgpack_refuses(""), "MessagePack value is cut off or malformed");
    assert_string_equal(msgpack_refuses("91 c1"), "MessagePack value is cut off or malformed");
}

static const char *refusal_of_many(const char *part, struct str *json)
{
    struct buf message = {0};
    struct str one = bytes(part);
    while (message.n + one.n <= 65536)
        buf_str(&message, one);
    const char *wrong = binary_to_json(buf_view(&message), FORMAT_PROTOBUF, &arena, json, &form);
    buf_free(&message);
    return wrong;
}

/* Found by review: protobuf-c merges a field that comes again, so 64 KiB of empty headers asked for a gigabyte. */
static void a_field_that_comes_thousands_of_times_costs_no_square(void **state)
{
    struct str json;
    assert_string_equal(refusal_of_many("6a 02 0a 00", &json), "Protobuf message does not fit the envelope");
    /* What may be repeated may be so as often as it fits. */
    assert_null(refusal_of_many("32 00", &json));
    assert_null(refusal_of_many("32 04 0a 00 12 00", &json));
    assert_null(refusal_of_many("80 01 00", &json));
    assert_null(refusal_of_many("0a 00", &json));
    assert_null(refusal_of_many("1a 09 12 07 22 05 0a 00 12 01'1'", &json));
}

static void nesting_has_a_limit(void **state)
{
    struct buf deep = {0};
    struct str json;
    for (unsigned depth = 1; depth < 40; depth++) {
        buf_clear(&deep);
        buf_lit(&deep, "\x81\xa6"
                       "extras\x81\xa1z");
        for (unsigned i = 2; i < depth; i++)
            buf_char(&deep, '\x91');
        buf_char(&deep, '\xc0');
        const char *wrong = binary_to_json(buf_view(&deep), FORMAT_MSGPACK, &arena, &json, &form);
        if (depth <= FORMAT_DEPTH_MAX)
            assert_null(wrong);
        else
            assert_string_equal(wrong, "MessagePack value nests too deeply");
    }
    buf_free(&deep);
}

static void a_refusal_names_the_field(void **state)
{
    static const struct {
        const char *vector, *why;
    } cases[] = {
        {"a1'e'", "a message must be a MessagePack array or map"},
        {"91 01", "event must be a string"},
        {"92 a1'e' c401'c'", "channel must be a string"},
        {"91 a2 c328", "event must be UTF-8"},
        {"93 c0 c0 a1'x'", "data must be nil or [kind, value] with kind string, json, binary or structured"},
        {"93 c0 c0 92 a6'string' 05", "data must be a string"},
        {"93 c0 c0 92 a4'json' a1'{'", "data must be JSON text"},
        {"93 c0 c0 92 a4'json' a8'1,\"a\":2}'", "data must be JSON text"},
        {"93 c0 c0 92 aa'structured' 05", "data of kind structured must be an array or a map"},
        {"93 c0 c0 92 aa'structured' 94 c0 c0 c0 81 a1'k' a1'}'", "data.extra must be JSON text"},
        {"96 c0c0c0c0c0 81 a1'k' 05", "tags: a value must be a string"},
        {"97 c0c0c0c0c0c0 ff", "sequence must be a non-negative integer"},
        {"9d c0c0c0c0c0c0c0c0c0c0c0c0 91 81 a1'h' 80", "extras.headers values must be strings, numbers or booleans"},
        {"9d c0c0c0c0c0c0c0c0c0c0c0c0 91 81 a1'h' cb7ff0000000000000", "extras.headers must be a finite number"},
        {"9d c0c0c0c0c0c0c0c0c0c0c0c0 81 a1'z' d405 00", "extras must not contain extension types"},
        {"81 05 a1'e'", "a message must have strings as keys"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(msgpack_refuses(cases[i].vector), cases[i].why);
    assert_string_equal(protobuf_refuses("0a 02 c328"), "event must be UTF-8");
    assert_string_equal(protobuf_refuses("1a 03 1a 01'{'"), "data must be JSON text");
    assert_string_equal(protobuf_refuses("6a 05 0a 03 0a 01'h'"), "extras.headers values must be strings, numbers or booleans");
    assert_string_equal(protobuf_refuses("08 01"), "Protobuf message does not fit the envelope");
}

/* Commands of a binary client take the way of JSON ones. */
static void a_client_message_is_read_in_any_format(void **state)
{
    static const struct {
        enum wire_format format;
        const char *vector;
    } cases[] = {
        {FORMAT_JSON, "'{\"event\":\"pusher:subscribe\",\"channel\":\"c\",\"data\":{\"channel\":\"x\"},\"message_id\":\"m\"}'"},
        {FORMAT_MSGPACK, "99 b0'pusher:subscribe' a1'c' 92 a4'json' af'{\"channel\":\"x\"}' c0c0c0c0c0 a1'm'"},
        {FORMAT_PROTOBUF, "0a 10'pusher:subscribe' 12 01'c' 1a 11 1a 0f'{\"channel\":\"x\"}' 4a 01'm'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client_message m;
        const char *wrong = client_message_decode(bytes(cases[i].vector), cases[i].format, &arena, &m);
        assert_null(wrong);
        assert_int_equal(m.family, FAMILY_COMMAND);
        assert_str(m.event, "subscribe");
        assert_str(m.channel, "c");
        assert_str(m.data, "{\"channel\":\"x\"}");
        assert_str(m.message_id, "m");
    }
    struct client_message none;
    assert_ptr_equal(client_message_decode(bytes("92 c0 a1'c'"), FORMAT_MSGPACK, &arena, &none), client_message_no_event);
}

/* ---- the query parameters ---- */

static void the_format_is_asked_for_by_name(void **state)
{
    static const struct {
        const char *format, *client;
        enum wire_format expected;
    } cases[] = {
        {NULL, NULL, FORMAT_JSON},          {"", "js", FORMAT_JSON},
        {" JSON ", "js", FORMAT_JSON},      {"msgpack", NULL, FORMAT_MSGPACK},
        {"MessagePack", "csharp", FORMAT_MSGPACK}, {"proto", "js", FORMAT_PROTOBUF},
        {" Protobuf", NULL, FORMAT_PROTOBUF},      {"protobuf", "csharp", FORMAT_PROTOBUF_OLDER},
        {"protobuf", "Flutter", FORMAT_PROTOBUF_OLDER},
    };
    enum wire_format format;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(wire_format_read(str_of(cases[i].format), str_of(cases[i].client), &format));
        assert_int_equal(format, cases[i].expected);
    }
    assert_false(wire_format_read(STR("avro"), STR_NONE, &format));
    assert_false(wire_format_read(STR("msg pack"), STR("csharp"), &format));
}

#define unit(test) cmocka_unit_test_teardown(test, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        unit(every_field_of_a_message_has_its_position_in_messagepack),
        unit(every_field_of_a_message_has_its_number_in_protobuf),
        unit(the_older_numbers_move_six_fields),
        unit(data_says_what_kind_it_is),
        unit(bytes_stay_bytes_if_they_came_so),
        unit(absent_fields_are_nil_or_not_written),
        unit(what_was_written_is_read_again),
        unit(messagepack_may_be_a_short_array_or_a_map_by_name),
        unit(structured_data_is_an_object_for_us),
        unit(bytes_are_an_array_of_numbers_for_us),
        unit(extras_may_be_a_map_or_the_positions_of_the_reference),
        unit(field_ten_as_a_number_is_the_serial),
        unit(unknown_fields_of_protobuf_are_passed_over),
        unit(a_later_value_of_a_field_wins),
        unit(bytes_behind_the_value_are_refused),
        unit(what_is_cut_off_is_refused_at_every_length),
        unit(counts_that_the_message_cannot_hold_cost_nothing),
        unit(a_field_that_comes_thousands_of_times_costs_no_square),
        unit(nesting_has_a_limit),
        unit(a_refusal_names_the_field),
        unit(a_client_message_is_read_in_any_format),
        unit(the_format_is_asked_for_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* bus_wire_test.c - what buses say to each other, as bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/bus_wire.h"
#include "unit.h"

static const char node[] = "0123456789abcdef", nonce[] = "nonce678";

static struct buf wire;

static int teardown(void **state)
{
    buf_free(&wire);
    wire = (struct buf){0};
    return 0;
}

static bool read_back(const struct bus_message *m, struct bus_message *back)
{
    bus_put(&wire, m);
    return bus_read(buf_view(&wire), back);
}

static struct str shown(struct str interests)
{
    static char text[200];
    size_t n = 0;
    struct bus_interests it;
    struct bus_interest one;
    assert_true(bus_interests_begin(&it, interests));
    while (bus_interest_next(&it, &one))
        n += (size_t)snprintf(text + n, sizeof text - n, "%u:%d ", one.topic, one.window);
    return str_make(text, n);
}

static void a_payload_is_what_follows_the_head(void **state)
{
    struct bus_message m;
    bus_put_head(&wire, BUS_PUBLISHED, node);
    buf_lit(&wire, "bytes");
    assert_int_equal(wire.n, BUS_HEAD_BYTES + 5);
    assert_true(bus_read(buf_view(&wire), &m));
    assert_int_equal(m.kind, BUS_PUBLISHED);
    assert_memory_equal(m.node, node, BUS_ID_BYTES);
    assert_str(m.payload, "bytes");
}

static void a_state_says_what_a_node_listens_to(void **state)
{
    struct bus_interest in[] = {{0, 0}, {1, 4}, {700, BUS_WINDOW_MAX}, {BUS_TOPICS_MAX - 1, 2}};
    struct buf packed = {0};
    struct bus_message m = {.kind = BUS_STATE, .node = node, .nonce = nonce, .name = STR("node-1"), .topics = 1024, .generation = 1ull << 40, .answers = 9}, back;
    bus_put_interests(&packed, in, 4);
    m.interests = buf_view(&packed);
    assert_true(read_back(&m, &back));
    assert_str(back.name, "node-1");
    assert_int_equal(back.topics, 1024);
    assert_true(back.generation == 1ull << 40);
    assert_int_equal(back.answers, 9);
    assert_memory_equal(back.nonce, nonce, BUS_NONCE_BYTES);
    assert_str(shown(back.interests), "0:0 1:4 700:200 4095:2 ");
    buf_free(&packed);
}

static void a_name_has_a_limit(void **state)
{
    char name[BUS_NAME_MAX + 1] = {0};
    struct bus_message m = {.kind = BUS_HELLO, .node = node, .nonce = nonce, .topics = 8, .interests = STR("\0")}, back;
    m.name = str_make(name, BUS_NAME_MAX);
    assert_true(read_back(&m, &back));
    m.name = str_make(name, BUS_NAME_MAX + 1);
    assert_false(read_back(&m, &back));
}

static void an_announcement_tells_of_topics_that_were_left(void **state)
{
    struct bus_interest in[] = {{5, BUS_NOBODY}, {6, 1}};
    struct buf packed = {0};
    struct bus_message m = {.kind = BUS_ANNOUNCE, .node = node, .since = 41, .generation = 42}, back;
    bus_put_interests(&packed, in, 2);
    m.interests = buf_view(&packed);
    assert_true(read_back(&m, &back));
    assert_int_equal(back.since, 41);
    assert_str(shown(back.interests), "5:-1 6:1 ");
    buf_free(&packed);
}

/* The price of the envelope: 18 bytes a payload; of a whole state of 1024 topics: 2 KiB. */
static void sizes_are_what_the_readme_says(void **state)
{
    static struct bus_interest all[1024];
    for (unsigned i = 0; i < 1024; i++)
        all[i] = (struct bus_interest){i, 2};
    bus_put_interests(&wire, all, 1024);
    assert_true(wire.n <= 2 * 1024 + 3);
    assert_int_equal(BUS_HEAD_BYTES, 18);
}

static void whatever_is_cut_short_or_too_long_is_refused(void **state)
{
    struct bus_interest in[] = {{5, 3}, {300, 1}};
    struct buf packed = {0};
    struct bus_message m = {.kind = BUS_HELLO, .node = node, .nonce = nonce, .topics = 512, .generation = 300}, back;
    bus_put_interests(&packed, in, 2);
    m.interests = buf_view(&packed);
    bus_put(&wire, &m);
    for (size_t n = 0; n < wire.n; n++)
        assert_false(bus_read(str_make(wire.p, n), &back));
    assert_true(bus_read(buf_view(&wire), &back));
    buf_char(&wire, 0);
    assert_false(bus_read(buf_view(&wire), &back));
    buf_free(&packed);
}

static bool state_with(const char *interests, size_t n)
{
    struct bus_message m = {.kind = BUS_HELLO, .node = node, .nonce = nonce, .topics = 8, .interests = str_make(interests, n)}, back;
    buf_clear(&wire);
    return read_back(&m, &back);
}

static void interests_out_of_bounds_are_refused(void **state)
{
    assert_true(state_with("\x01\xff\x1f\x01", 4));            /* topic 4095 */
    assert_false(state_with("\x01\x80\x20\x01", 4));           /* topic 4096 */
    assert_false(state_with("\x02\xff\x1f\x01\x00\x01", 6));   /* 4095 and the next */
    assert_true(state_with("\x01\x00\xc9\x01", 4));            /* window 200 */
    assert_false(state_with("\x01\x00\xca\x01", 4));           /* window 201 */
    assert_false(state_with("\x02\x00\x01", 3));               /* two, but one is there */
    assert_false(state_with("\x81\x80\x80\x80\x10\x00\x01", 7)); /* 2^32 + 1 of them */
}

static void other_versions_and_kinds_are_refused(void **state)
{
    struct bus_message m;
    bus_put_head(&wire, BUS_BYE, node);
    assert_true(bus_read(buf_view(&wire), &m));
    wire.p[0] = BUS_WIRE_VERSION + 1;
    assert_false(bus_read(buf_view(&wire), &m));
    wire.p[0] = BUS_WIRE_VERSION;
    for (int kind = 0; kind < 256; kind++) {
        wire.p[1] = (char)kind;
        bool bodiless = kind == BUS_BYE || kind == BUS_ASK || kind == BUS_PUBLISHED || kind == BUS_SENT;
        assert_true(bus_read(buf_view(&wire), &m) == bodiless);
    }
}

static void node_ids_are_uuids(void **state)
{
    char id[BUS_ID_BYTES], uuid[BUS_NODE_SIZE + 1];
    assert_true(bus_id_read(STR("9be4d619-6440-41bb-85bc-c858fa98bfcd"), id));
    bus_id_write(id, uuid);
    assert_string_equal(uuid, "9be4d619-6440-41bb-85bc-c858fa98bfcd");
    assert_false(bus_id_read(STR("9be4d619-6440-41bb-85bc-c858fa98bfc"), id));
    assert_false(bus_id_read(STR("9be4d619-6440-41bb-85bc-c858fa98bfcg"), id));
    assert_false(bus_id_read(STR("9be4d61906440-41bb-85bc-c858fa98bfcd"), id));
    assert_false(bus_id_read(STR("9BE4D619-6440-41bb-85bc-c858fa98bfcd"), id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_payload_is_what_follows_the_head, teardown),
        cmocka_unit_test_teardown(a_state_says_what_a_node_listens_to, teardown),
        cmocka_unit_test_teardown(an_announcement_tells_of_topics_that_were_left, teardown),
        cmocka_unit_test_teardown(a_name_has_a_limit, teardown),
        cmocka_unit_test_teardown(sizes_are_what_the_readme_says, teardown),
        cmocka_unit_test_teardown(whatever_is_cut_short_or_too_long_is_refused, teardown),
        cmocka_unit_test_teardown(interests_out_of_bounds_are_refused, teardown),
        cmocka_unit_test_teardown(other_versions_and_kinds_are_refused, teardown),
        cmocka_unit_test_teardown(node_ids_are_uuids, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

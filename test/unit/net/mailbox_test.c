/* mailbox_test.c - the mailbox alone, then with posters on other threads and a loop that sleeps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/loop.h"
#include "net/mailbox.h"

enum { POSTERS = 4, POSTS = 20000 };

struct numbered {
    struct task task;
    unsigned poster, number;
};

static void tasks_come_out_in_the_order_in_which_they_went_in(void **state)
{
    struct mailbox *box = mailbox_new(4);
    struct task a, b, c, *out[4];
    mailbox_post(box, &a);
    mailbox_post(box, &b);
    mailbox_post(box, &c);
    assert_int_equal(mailbox_depth(box), 3);

    assert_int_equal(mailbox_take(box, out, 2), 2);
    assert_ptr_equal(out[0], &a);
    assert_ptr_equal(out[1], &b);
    assert_int_equal(mailbox_take(box, out, 4), 1);
    assert_ptr_equal(out[0], &c);
    assert_int_equal(mailbox_take(box, out, 4), 0);
    mailbox_free(box);
}

/* A slow shard must cost its posters an error, never a wait. */
static void a_full_mailbox_refuses_and_counts(void **state)
{
    struct mailbox *box = mailbox_new(2);
    struct task a, b, c, *out[2];
    assert_int_equal(mailbox_post(box, &a), MAILBOX_OK);
    assert_int_equal(mailbox_post(box, &b), MAILBOX_OK);
    assert_int_equal(mailbox_post(box, &c), MAILBOX_FULL);
    assert_int_equal(mailbox_dropped(box), 1);

    assert_int_equal(mailbox_take(box, out, 1), 1);
    assert_int_equal(mailbox_post(box, &c), MAILBOX_OK);
    assert_int_equal(mailbox_take(box, out, 2), 2);
    assert_ptr_equal(out[1], &c);
    mailbox_free(box);
}

static void an_owner_with_mail_may_not_sleep(void **state)
{
    struct mailbox *box = mailbox_new(2);
    struct task a, *out[2];
    assert_true(mailbox_sleep(box));
    mailbox_awake(box);
    mailbox_post(box, &a);
    assert_false(mailbox_sleep(box));
    mailbox_take(box, out, 2);
    mailbox_free(box);
}

static struct loop *receiver;
static unsigned next_of[POSTERS];
static _Atomic unsigned received, out_of_order;
static struct numbered all[POSTERS][POSTS];

static void on_task(struct task *task)
{
    struct numbered *n = (struct numbered *)task;
    if (n->number != next_of[n->poster]++)
        out_of_order++;
    if (++received == POSTERS * POSTS)
        loop_stop(receiver);
}

static void *post_all(void *argument)
{
    unsigned poster = (unsigned)(uintptr_t)argument;
    for (unsigned i = 0; i < POSTS; i++) {
        all[poster][i] = (struct numbered){{on_task}, poster, i};
        /* one poster gathers: it wakes the owner for a few puts at a time */
        while ((poster ? mailbox_post : mailbox_put)(loop_mailbox(receiver), &all[poster][i].task) == MAILBOX_FULL) {
            mailbox_wake(loop_mailbox(receiver));
            sched_yield();
        }
        if (i % 7 == 0 || i == POSTS - 1)
            mailbox_wake(loop_mailbox(receiver));
        if (i % 1000 == 0)
            sched_yield(); /* let the owner fall asleep now and then */
    }
    return NULL;
}

/* The loop has no timer: a lost wake-up would hang it for ever. */
static void nothing_is_lost_or_reordered_between_many_posters_and_a_sleepy_owner(void **state)
{
    pthread_t threads[POSTERS];
    receiver = loop_new(&clock_system, 256);
    for (uintptr_t i = 0; i < POSTERS; i++)
        pthread_create(&threads[i], NULL, post_all, (void *)i);

    loop_run(receiver);

    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(received, POSTERS * POSTS);
    assert_int_equal(out_of_order, 0);
    loop_free(receiver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_come_out_in_the_order_in_which_they_went_in),
        cmocka_unit_test(a_full_mailbox_refuses_and_counts),
        cmocka_unit_test(an_owner_with_mail_may_not_sleep),
        cmocka_unit_test(nothing_is_lost_or_reordered_between_many_posters_and_a_sleepy_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* kv_rocksdb.c - the embedded store's engine room: RocksDB through its C interface.
 *
 * One pending WriteBatch that is reused; a commit is one write of it with or without fsync of the write-ahead log. After a
 * failed commit RocksDB refuses further writes by itself until it is opened anew (reopen).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/kv.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <sys/stat.h>

struct kv_rocksdb {
    struct kv kv;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *sync, *no_sync;
    rocksdb_readoptions_t *read;
    rocksdb_writebatch_t *batch;
    pthread_rwlock_t open_lock; /* readers hold it for reading, reopen for writing */
    pthread_mutex_t snapshots_lock;
    struct list snapshots;      /* that hold something of db */
    char *path;
};

struct rocks_snapshot {
    struct kv kv;
    struct kv_rocksdb *r;
    struct list link;
    const rocksdb_snapshot_t *snapshot; /* NULL: the kv was opened anew since, what it showed may be gone */
    rocksdb_readoptions_t *read;
};

struct kv_cursor {
    struct kv_rocksdb *r;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read;
    struct str from, to;
    bool backward, started;
};

static struct kv_rocksdb *rocksdb_of(struct kv *kv)
{
    return (struct kv_rocksdb *)(void *)kv;
}

static bool take_error(char *err, struct buf *error)
{
    if (err == NULL)
        return false;
    if (error != NULL)
        buf_str(error, str_of(err));
    rocksdb_free(err);
    return true;
}

/* ---- writing ---- */

static void rocks_put(struct kv *kv, struct str key, struct str value)
{
    rocksdb_writebatch_put(rocksdb_of(kv)->batch, key.p, key.n, value.p, value.n);
}

static void rocks_del(struct kv *kv, struct str key)
{
    rocksdb_writebatch_delete(rocksdb_of(kv)->batch, key.p, key.n);
}

static void rocks_del_range(struct kv *kv, struct str from, struct str to)
{
    rocksdb_writebatch_delete_range(rocksdb_of(kv)->batch, from.p, from.n, to.p, to.n);
}

static void rocks_abandon(struct kv *kv)
{
    rocksdb_writebatch_clear(rocksdb_of(kv)->batch);
}

static bool rocks_commit(struct kv *kv, bool sync, struct buf *error)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    char *err = NULL;
    if (r->db == NULL) {
        buf_lit(error, "the database is closed");
        rocksdb_writebatch_clear(r->batch);
        return false;
    }
    if (rocksdb_writebatch_count(r->batch) == 0)
        return true;
    rocksdb_write(r->db, sync ? r->sync : r->no_sync, r->batch, &err);
    rocksdb_writebatch_clear(r->batch);
    return !take_error(err, error);
}

static bool rocks_sync(struct kv *kv, struct buf *error)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    char *err = NULL;
    if (r->db == NULL)
        return false;
    rocksdb_flush_wal(r->db, 1, &err);
    return !take_error(err, error);
}

/* ---- reading ---- */

static bool get_from(struct kv_rocksdb *r, const rocksdb_readoptions_t *read, bool is_open, struct str key, struct buf *out,
                     bool *failed)
{
    char *err = NULL;
    rocksdb_pinnableslice_t *slice = is_open ? rocksdb_get_pinned(r->db, read, key.p, key.n, &err) : NULL;
    if (!is_open || err != NULL)
        *failed = true;
    take_error(err, NULL);
    if (slice != NULL) {
        size_t n;
        const char *p = rocksdb_pinnableslice_value(slice, &n);
        buf_put(out, p, n);
        rocksdb_pinnableslice_destroy(slice);
    }
    return slice != NULL;
}

static bool rocks_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    pthread_rwlock_rdlock(&r->open_lock);
    bool found = get_from(r, r->read, r->db != NULL, key, out, failed);
    pthread_rwlock_unlock(&r->open_lock);
    return found;
}

/* Takes the open_lock until rocks_end(). */
static struct kv_cursor *cursor_new(struct kv_rocksdb *r, struct str from, struct str to, bool backward)
{
    struct kv_cursor *c = mem_new(struct kv_cursor);
    *c = (struct kv_cursor){.r = r, .from = str_make(str_dup(from), from.n), .to = str_make(str_dup(to), to.n),
                            .backward = backward};
    pthread_rwlock_rdlock(&r->open_lock);
    return c;
}

static void cursor_begin(struct kv_cursor *c, const rocksdb_snapshot_t *snapshot)
{
    c->read = rocksdb_readoptions_create();
    if (snapshot != NULL)
        rocksdb_readoptions_set_snapshot(c->read, snapshot);
    rocksdb_readoptions_set_iterate_lower_bound(c->read, c->from.p, c->from.n);
    rocksdb_readoptions_set_iterate_upper_bound(c->read, c->to.p, c->to.n);
    c->it = rocksdb_create_iterator(c->r->db, c->read);
    if (c->backward)
        rocksdb_iter_seek_to_last(c->it);
    else
        rocksdb_iter_seek_to_first(c->it);
}

static struct kv_cursor *rocks_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    struct kv_cursor *c = cursor_new(rocksdb_of(kv), from, to, backward);
    if (c->r->db != NULL)
        cursor_begin(c, NULL);
    return c;
}

static bool rocks_next(struct kv_cursor *c, struct str *key, struct str *value)
{
    if (c->it == NULL)
        return false;
    if (c->started && c->backward)
        rocksdb_iter_prev(c->it);
    else if (c->started)
        rocksdb_iter_next(c->it);
    c->started = true;
    if (!rocksdb_iter_valid(c->it))
        return false;
    key->p = rocksdb_iter_key(c->it, &key->n);
    value->p = rocksdb_iter_value(c->it, &value->n);
    return true;
}

static bool rocks_end(struct kv_cursor *c)
{
    char *err = NULL;
    bool ok = c->it != NULL;
    if (c->it != NULL) {
        rocksdb_iter_get_error(c->it, &err);
        rocksdb_iter_destroy(c->it);
        rocksdb_readoptions_destroy(c->read);
    }
    ok = !take_error(err, NULL) && ok;
    pthread_rwlock_unlock(&c->r->open_lock);
    free((void *)c->from.p);
    free((void *)c->to.p);
    free(c);
    return ok;
}

/* ---- snapshots ---- */

static bool snapshot_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    struct rocks_snapshot *s = (struct rocks_snapshot *)(void *)kv;
    pthread_rwlock_rdlock(&s->r->open_lock);
    bool found = get_from(s->r, s->read, s->snapshot != NULL, key, out, failed);
    pthread_rwlock_unlock(&s->r->open_lock);
    return found;
}

static struct kv_cursor *snapshot_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    struct rocks_snapshot *s = (struct rocks_snapshot *)(void *)kv;
    struct kv_cursor *c = cursor_new(s->r, from, to, backward);
    if (s->snapshot != NULL)
        cursor_begin(c, s->snapshot);
    return c;
}

static void snapshot_release(struct rocks_snapshot *s)
{
    if (s->snapshot == NULL)
        return;
    rocksdb_release_snapshot(s->r->db, s->snapshot);
    s->snapshot = NULL;
    list_remove(&s->link);
}

static void snapshot_close(struct kv *kv)
{
    struct rocks_snapshot *s = (struct rocks_snapshot *)(void *)kv;
    pthread_rwlock_rdlock(&s->r->open_lock);
    pthread_mutex_lock(&s->r->snapshots_lock);
    snapshot_release(s);
    pthread_mutex_unlock(&s->r->snapshots_lock);
    pthread_rwlock_unlock(&s->r->open_lock);
    rocksdb_readoptions_destroy(s->read);
    free(s);
}

static const struct kv_ops snapshot_ops = {.get = snapshot_get, .scan = snapshot_scan, .next = rocks_next, .end = rocks_end,
                                           .close = snapshot_close};

static struct kv *rocks_snapshot(struct kv *kv)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    struct rocks_snapshot *s = mem_new(struct rocks_snapshot);
    *s = (struct rocks_snapshot){.kv.ops = &snapshot_ops, .r = r, .read = rocksdb_readoptions_create()};
    if (r->db == NULL)
        return &s->kv;
    s->snapshot = rocksdb_create_snapshot(r->db);
    rocksdb_readoptions_set_snapshot(s->read, s->snapshot);
    pthread_mutex_lock(&r->snapshots_lock);
    list_append(&r->snapshots, &s->link);
    pthread_mutex_unlock(&r->snapshots_lock);
    return &s->kv;
}

/* ---- opening ---- */

/* No memtable_insert_with_hint_prefix_extractor, though it would save searches: RocksDB 7.8 keeps one hint for a prefix and uses it
 * in the table of rows and in the table of range deletions alike, so that a reset reads foreign memory. */
static void set_options(struct kv_rocksdb *r)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    /* One writer: the machinery for many costs CPU per batch. */
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
    /* A start replays at most this much of the log: it bounds the time to the first connection. */
    rocksdb_options_set_write_buffer_size(o, 16 << 20);
    rocksdb_options_set_max_total_wal_size(o, 32 << 20);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    /* Tables reach the disk bit by bit: left to the end, their data stands in the way of the log's next sync. */
    rocksdb_options_set_bytes_per_sync(o, 256 << 10);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, 256);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    /* Fatal only: its own log lies on the same disk, and once that is full the next line of it fails an assertion. */
    rocksdb_options_set_info_log_level(o, 4);
    rocksdb_options_set_keep_log_file_num(o, 3);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    /* A torn record at the end is what a crash leaves; damage anywhere else must not be passed over in silence. */
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
    r->table = rocksdb_block_based_options_create();
    r->cache = rocksdb_cache_create_lru(32 << 20);
    rocksdb_block_based_options_set_block_cache(r->table, r->cache);
    rocksdb_block_based_options_set_filter_policy(r->table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(r->table, 1);
    rocksdb_options_set_block_based_table_factory(o, r->table);
    r->options = o;
    r->sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync, 1);
    r->no_sync = rocksdb_writeoptions_create();
    r->read = rocksdb_readoptions_create();
    r->batch = rocksdb_writebatch_create();
}

static void explain(struct buf *error, const char *path, struct str why)
{
    buf_fmt(error, "cannot open the store at %s: %.*s\n", path, STR_ARG(why));
    if (str_find(why, STR("lock")) >= 0)
        buf_lit(error, "Another process has it open. Stop that one, or give this server a directory of its own (--data-dir).");
    else if (str_find(why, STR("Corruption")) >= 0 || str_find(why, STR("corrupt")) >= 0)
        buf_fmt(error, "Its files are damaged, so the server does not start on them. Restore %s from a backup; or move it "
                       "away to start empty; or try `ldb repair --db=%s` (Debian package rocksdb-tools) on a copy.",
                path, path);
    else
        buf_fmt(error, "Check that %s is a directory that this user can read and write, and that the disk is well.", path);
}

static bool open_db(struct kv_rocksdb *r, struct buf *error)
{
    char *err = NULL;
    struct buf why = {0};
    r->db = rocksdb_open(r->options, r->path, &err);
    if (!take_error(err, &why))
        return true;
    r->db = NULL;
    explain(error, r->path, buf_view(&why));
    buf_free(&why);
    return false;
}

static bool rocks_reopen(struct kv *kv, struct buf *error)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    pthread_rwlock_wrlock(&r->open_lock);
    while (!list_empty(&r->snapshots))
        snapshot_release(list_of(r->snapshots.next, struct rocks_snapshot, link));
    if (r->db != NULL)
        rocksdb_close(r->db);
    r->db = NULL;
    bool ok = open_db(r, error);
    pthread_rwlock_unlock(&r->open_lock);
    return ok;
}

static void rocks_close(struct kv *kv)
{
    struct kv_rocksdb *r = rocksdb_of(kv);
    if (r->db != NULL)
        rocksdb_close(r->db);
    rocksdb_writebatch_destroy(r->batch);
    rocksdb_writeoptions_destroy(r->sync);
    rocksdb_writeoptions_destroy(r->no_sync);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_options_destroy(r->options);
    rocksdb_block_based_options_destroy(r->table);
    rocksdb_cache_destroy(r->cache);
    pthread_rwlock_destroy(&r->open_lock);
    pthread_mutex_destroy(&r->snapshots_lock);
    free(r->path);
    free(r);
}

static const struct kv_ops rocks_ops = {rocks_put,  rocks_del, rocks_del_range, rocks_abandon, rocks_commit, rocks_sync,
                                        rocks_get,  rocks_scan, rocks_next,     rocks_end,     rocks_reopen, rocks_close,
                                        rocks_snapshot};

struct kv *kv_rocksdb_open(const char *path, struct buf *error)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        buf_fmt(error, "cannot create the store's directory %s: %s", path, strerror(errno));
        return NULL;
    }
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        buf_fmt(error, "cannot open the store: %s is not a directory", path);
        return NULL;
    }
    struct kv_rocksdb *r = mem_new(struct kv_rocksdb);
    r->kv.ops = &rocks_ops;
    r->path = str_dup(str_of(path));
    pthread_rwlock_init(&r->open_lock, NULL);
    pthread_mutex_init(&r->snapshots_lock, NULL);
    list_init(&r->snapshots);
    set_options(r);
    if (open_db(r, error))
        return &r->kv;
    rocks_close(&r->kv);
    return NULL;
}

/* stream_parse.c - finds where records end, and reads them.
 *
 *      kept  [used ....|one record ........\n|half of the next]
 *                      ^ at                   ^ scanned: looked at no more
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/stream_parse.h"

#include <string.h>

#include "api/provider.h"
#include "base/json.h"

enum { KEEP_MAX = 8192 };

void stream_parser_free(struct stream_parser *p)
{
    buf_free(&p->kept);
    buf_free(&p->made);
}

void stream_parser_put(struct stream_parser *p, struct str bytes)
{
    if (p->finished)
        return;
    buf_consume(&p->kept, p->at);
    if (p->kept.n == 0 && p->kept.cap > KEEP_MAX)
        buf_free(&p->kept); /* most of the time a stream waits for its model */
    p->scanned -= p->at < p->scanned ? p->at : p->scanned;
    p->at = 0;
    buf_str(&p->kept, bytes);
}

void stream_parser_end(struct stream_parser *p)
{
    p->whole = true;
}

static enum parse_result wrong(struct stream_parser *p, const char *why)
{
    p->why = why;
    return PARSE_WRONG;
}

static enum parse_result record_is(struct stream_parser *p, struct stream_record *record)
{
    if (!record->data.p)
        record->data = STR("\"\"");
    p->finished = record->status == STREAM_COMPLETE || record->status == STREAM_CANCELLED;
    return PARSE_RECORD;
}

static struct str rest_of(const struct stream_parser *p)
{
    return str_from(buf_view(&p->kept), p->at);
}

/* ---- ndjson ---- */

/* The next line without its end; false if it is not there yet. */
static bool take_line(struct stream_parser *p, struct str *line)
{
    struct str all = buf_view(&p->kept);
    size_t from = p->scanned > p->at ? p->scanned : p->at;
    const char *end = from < all.n ? memchr(all.p + from, '\n', all.n - from) : NULL;
    if (!end && (!p->whole || p->at == all.n)) {
        p->scanned = all.n;
        return false;
    }
    size_t n = end ? (size_t)(end - all.p) - p->at : all.n - p->at;
    *line = str_make(all.p + p->at, n);
    p->at += n + (end != NULL);
    return true;
}

static const char *read_status(struct str value, enum stream_status *status)
{
    static const struct {
        struct str word;
        enum stream_status status;
    } words[] = {{STR("\"complete\""), STREAM_COMPLETE},
                 {STR("\"cancelled\""), STREAM_CANCELLED},
                 {STR("\"streaming\""), STREAM_OPEN}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(value, words[i].word)) {
            *status = words[i].status;
            return NULL;
        }
    return "'status' must be \"streaming\", \"complete\" or \"cancelled\"";
}

static const char *read_member(struct str key, struct str value, struct stream_record *record)
{
    const struct {
        struct str key;
        struct str *to;
        enum json_type type;
        const char *wrong;
    } members[] = {
        {STR("data"), &record->data, JSON_STRING, "'data' must be a string"},
        {STR("extras"), &record->extras, JSON_OBJECT, "'extras' must be an object"},
        {STR("op_id"), &record->op_id, JSON_STRING, "'op_id' must be a string"},
        {STR("client_id"), &record->client_id, JSON_STRING, "'client_id' must be a string"},
        {STR("description"), &record->description, JSON_STRING, "'description' must be a string"},
    };
    if (json_is(value, JSON_NULL))
        return NULL;
    if (str_eq(key, STR("status")))
        return read_status(value, &record->status);
    if (str_eq(key, STR("metadata")))
        record->metadata = value;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (str_eq(key, members[i].key)) {
            *members[i].to = value;
            return json_is(value, members[i].type) ? NULL : members[i].wrong;
        }
    return NULL;
}

static enum parse_result read_line(struct stream_parser *p, struct str line, struct stream_record *record)
{
    struct str object, key, value;
    if (!json_check(line, &object, NULL))
        return wrong(p, "a line is not JSON");
    if (!json_is(object, JSON_OBJECT))
        return wrong(p, "a line is not a JSON object");
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &value);) {
        const char *why = read_member(key, value, record);
        if (why)
            return wrong(p, why);
    }
    return record_is(p, record);
}

static enum parse_result next_line(struct stream_parser *p, struct stream_record *record)
{
    struct str line;
    while (take_line(p, &line))
        if (str_trim(line).n > 0)
            return read_line(p, line, record);
    return PARSE_MORE;
}

/* ---- text ---- */

/* How much of it can be cut off: up to the last character that may be incomplete. */
static size_t whole_characters(struct str text)
{
    for (size_t back = 1; back <= 3 && back <= text.n; back++) {
        unsigned char c = (unsigned char)text.p[text.n - back];
        size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if ((c & 0xc0) != 0x80)
            return size > back ? text.n - back : text.n;
    }
    return text.n;
}

static enum parse_result next_text(struct stream_parser *p, struct stream_record *record)
{
    struct str text = rest_of(p);
    if (!p->whole)
        text.n = whole_characters(text);
    if (text.n == 0)
        return PARSE_MORE;
    if (!str_is_utf8(text))
        return wrong(p, "the text is not UTF-8");
    p->at += text.n;
    buf_clear(&p->made);
    buf_json(&p->made, text);
    record->data = buf_view(&p->made);
    return record_is(p, record);
}

/* ---- server-sent events: WHATWG HTML, 9.2.6 ---- */

/* One line, ended by LF, CR or CRLF. False: not there yet. */
static bool cut_line(struct str *rest, bool whole, struct str *line)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != '\n' && rest->p[n] != '\r')
        n++;
    bool ended = n < rest->n && (rest->p[n] == '\n' || n + 1 < rest->n || whole);
    if (!ended && !(whole && rest->n > 0))
        return false;
    *line = str_first(*rest, n);
    if (n < rest->n)
        n += rest->p[n] == '\r' && n + 1 < rest->n && rest->p[n + 1] == '\n' ? 2 : 1;
    *rest = str_from(*rest, n);
    return true;
}

/* The data of the event so far; a second line of it makes a copy. */
static void add_data(struct stream_parser *p, struct str *data, struct str value)
{
    if (!data->p) {
        *data = value;
        return;
    }
    if (data->p != p->made.p) {
        buf_clear(&p->made);
        buf_str(&p->made, *data);
    }
    buf_char(&p->made, '\n');
    buf_str(&p->made, value);
    *data = buf_view(&p->made);
}

static void read_field(struct stream_parser *p, struct str line, struct str *data)
{
    struct str value = line, name = str_split(&value, ':');
    if (!str_eq(name, STR("data")))
        return;
    if (!value.p)
        value = STR("");
    add_data(p, data, value.n > 0 && value.p[0] == ' ' ? str_from(value, 1) : value);
}

/* Without one since the last look nothing can have ended. */
static bool has_new_line(const struct stream_parser *p)
{
    size_t from = p->scanned > p->at ? p->scanned - 1 : p->at; /* a CR at the end waits for what follows it */
    struct str news = str_from(buf_view(&p->kept), from);
    return memchr(news.p, '\n', news.n) || memchr(news.p, '\r', news.n);
}

/* The data of the next event that has any. False: it is not there yet. */
static bool take_event(struct stream_parser *p, struct str *data)
{
    struct str rest = rest_of(p), line;
    *data = STR_NONE;
    if (!p->whole && !has_new_line(p))
        return false;
    while (cut_line(&rest, p->whole, &line)) {
        if (line.n > 0)
            read_field(p, line, data);
        if (!data->p || line.n == 0)
            p->at = (size_t)(rest.p - p->kept.p); /* never to be looked at again */
        if (data->p && line.n == 0)
            return true;
    }
    p->scanned = p->kept.n;
    if (!p->whole)
        return false;
    p->at = p->kept.n;
    return data->p != NULL;
}

static enum parse_result finish(struct stream_parser *p, enum stream_status status, struct stream_record *record)
{
    record->status = status;
    return record_is(p, record);
}

static enum parse_result next_event(struct stream_parser *p, struct stream_record *record)
{
    struct str data;
    while (take_event(p, &data)) {
        struct provider_event event = provider_read(data);
        p->stop_seen |= event.says == PROVIDER_STOPS || event.stops;
        switch (event.says) {
        case PROVIDER_TEXT:
            record->data = event.text;
            return record_is(p, record);
        case PROVIDER_DONE:
            return finish(p, STREAM_COMPLETE, record);
        case PROVIDER_CANCELLED:
            return finish(p, STREAM_CANCELLED, record);
        case PROVIDER_FAILED:
            record->failed = event.text.p ? event.text : STR("\"the provider failed\"");
            return finish(p, STREAM_COMPLETE, record);
        case PROVIDER_MALFORMED:
            return wrong(p, "the data of an event is neither JSON nor [DONE]");
        default:
            break;
        }
    }
    if (p->whole && p->stop_seen)
        return finish(p, STREAM_COMPLETE, record);
    return PARSE_MORE;
}

/* ---- */

enum parse_result stream_parser_next(struct stream_parser *p, struct stream_record *record)
{
    enum parse_result result = PARSE_MORE;
    *record = (struct stream_record){0};
    if (p->finished)
        return PARSE_MORE;
    if (p->format == STREAM_NDJSON)
        result = next_line(p, record);
    else if (p->format == STREAM_TEXT)
        result = next_text(p, record);
    else
        result = next_event(p, record);
    if (result == PARSE_MORE && p->kept.n - p->at > STREAM_RECORD_MAX)
        return wrong(p, "a record is longer than 1 MiB");
    return result;
}

/* toml.cc - toml++ behind one C function; the only C++ in the tree.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define TOML_EXCEPTIONS 0
/* toml++ 3.3 asserts in parse_key() what a bad file can break (`[=]`), just before it would report that error itself:
 * let it. */
#define TOML_ASSERT(expr) static_cast<void>(0)
#include <toml++/toml.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "config/toml.h"

namespace
{

/* base/json.h refuses anything deeper anyway. */
constexpr unsigned depth_max = 64;

using text = std::string;

void put_string(text &out, std::string_view s)
{
    out += '"';
    for (char c : s) {
        char escaped[8];
        if (c == '"' || c == '\\')
            out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20) {
            out += c;
            continue;
        }
        std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
        out += escaped;
    }
    out += '"';
}

struct refused {
    const char *why;
    const toml::node &node;
};

void put_node(text &out, const toml::node &node, unsigned depth);

void put_table(text &out, const toml::table &table, unsigned depth)
{
    const char *between = "";
    out += '{';
    for (auto &&[key, node] : table) {
        out += between;
        put_string(out, key.str());
        out += ':';
        put_node(out, node, depth);
        between = ",";
    }
    out += '}';
}

void put_array(text &out, const toml::array &array, unsigned depth)
{
    const char *between = "";
    out += '[';
    for (auto &&node : array) {
        out += between;
        put_node(out, node, depth);
        between = ",";
    }
    out += ']';
}

void put_float(text &out, const toml::value<double> &node)
{
    if (!std::isfinite(node.get()))
        throw refused{"infinite and undefined numbers are not supported", node};
    char digits[64];
    std::snprintf(digits, sizeof digits, "%.15g", node.get());
    if (std::strtod(digits, nullptr) != node.get())
        std::snprintf(digits, sizeof digits, "%.17g", node.get());
    out += digits;
}

template <typename T> void put_time(text &out, const toml::value<T> &node)
{
    std::ostringstream written;
    written << node.get();
    put_string(out, written.str());
}

void put_node(text &out, const toml::node &node, unsigned depth)
{
    if (depth == depth_max)
        throw refused{"nested too deeply", node};
    switch (node.type()) {
    case toml::node_type::table:
        return put_table(out, *node.as_table(), depth + 1);
    case toml::node_type::array:
        return put_array(out, *node.as_array(), depth + 1);
    case toml::node_type::string:
        return put_string(out, node.as_string()->get());
    case toml::node_type::integer:
        out += std::to_string(node.as_integer()->get());
        return;
    case toml::node_type::floating_point:
        return put_float(out, *node.as_floating_point());
    case toml::node_type::boolean:
        out += node.as_boolean()->get() ? "true" : "false";
        return;
    case toml::node_type::date:
        return put_time(out, *node.as_date());
    case toml::node_type::time:
        return put_time(out, *node.as_time());
    case toml::node_type::date_time:
        return put_time(out, *node.as_date_time());
    default:
        throw refused{"unknown kind of value", node};
    }
}

bool fail(struct toml_error *error, const toml::source_region &where, std::string_view why)
{
    error->line = where.begin.line;
    error->column = where.begin.column;
    std::snprintf(error->why, sizeof error->why, "%.*s", static_cast<int>(why.size()), why.data());
    return false;
}

} // namespace

bool toml_to_json(const char *source, size_t size, void (*put)(void *, const char *, size_t), void *ctx,
                  struct toml_error *error)
{
    try {
        toml::parse_result parsed = toml::parse(std::string_view(size ? source : "", size));
        if (!parsed)
            return fail(error, parsed.error().source(), parsed.error().description());
        text json;
        try {
            put_table(json, parsed.table(), 1);
        } catch (const refused &r) {
            return fail(error, r.node.source(), r.why);
        }
        put(ctx, json.data(), json.size());
        return true;
    } catch (...) {
        return fail(error, toml::source_region{}, "out of memory");
    }
}

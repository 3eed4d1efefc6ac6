/* wsc.h - a WebSocket client connection (RFC 6455), as small as a load program allows.
 *
 * It answers pings and close frames, trusts the server not to fragment, and hands each text or binary payload
 * to text(). A raw one does no handshake: for peers that speak frames on a bare socket.
 *
 * Life: zeroed -> wsc_open() -> open() once the handshake is done -> text()... -> closed() once, unless
 * wsc_reset() came first. No callback may free the connection.
 * Ownership: paths are copied; payloads live for the call. Threads: the loop's. Limits: none: a frame is kept until it is whole, and what
 * the server does not take of `out` stays there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/sock.h"

struct wsc;
struct wsc_events {
    void (*open)(struct wsc *c);
    void (*text)(struct wsc *c, struct str payload);
    void (*closed)(struct wsc *c, const char *why);
};

enum wsc_state { WSC_NONE, WSC_CONNECTING, WSC_UPGRADING, WSC_READY, WSC_CLOSED };

struct wsc {
    struct io io;
    struct wire *wire;
    const struct wsc_events *events;
    struct buf in;  /* bytes of an unfinished frame */
    struct buf out; /* bytes that the kernel did not take yet */
    enum wsc_state state;
    bool raw;
};

/* False, with closed() not called, if not even a connect could be begun. */
bool wsc_open(struct wsc *c, struct wire *wire, struct str path, const struct wsc_events *events);
bool wsc_open_raw(struct wsc *c, struct wire *wire, const struct wsc_events *events);
void wsc_send(struct wsc *c, struct str text);
/* The same, but it leaves with what is sent next, in one write. */
void wsc_prepare(struct wsc *c, struct str text);
/* Ends it abruptly; harmless if it never began. */
void wsc_reset(struct wsc *c);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile network: forwards connections to an address, and does something to the bytes that go to
 * it.
 */
#ifndef TESTS_KVM_WIRE_PROXY_H
#define TESTS_KVM_WIRE_PROXY_H

#include <stdbool.h>
#include <stdint.h>

enum wire_fault_kind {
	WIRE_FLIP, /* one bit of the byte at `at` */
	WIRE_DROP, /* 64 bytes from there on are lost */
	WIRE_REPEAT, /* 64 bytes come twice */
	WIRE_SWAP, /* 64 bytes change places with the next 64 */
	WIRE_CUT, /* the connection closes there */
	/* all connections close, and none is taken any more; `at` counts the bytes of all */
	WIRE_BREAK,
};

struct wire_fault {
	enum wire_fault_kind kind;
	unsigned int connection; /* the how-manieth, from 0 */
	uint64_t at;
};

struct wire_proxy;

/* In a process of its own. NULL when it cannot be started. */
struct wire_proxy *wire_proxy_start(const char *target, const struct wire_fault *fault);
const char *wire_proxy_address(const struct wire_proxy *proxy);
/* Bytes that went to the target on a connection so far. */
uint64_t wire_proxy_forwarded(const struct wire_proxy *proxy, unsigned int connection);
/*
 * Now: all connections close, and none is taken any more. Or nothing is forwarded any more, without
 * a word.
 */
void wire_proxy_break(struct wire_proxy *proxy);
void wire_proxy_hang(struct wire_proxy *proxy);
/* What the source sends by the connections first, ..., last does not arrive from now on. */
void wire_proxy_hold(struct wire_proxy *proxy, unsigned int first, unsigned int last);
/*
 * One bit of the next bytes of a connection, in one direction, is another from now on; to be called
 * where the fault is to happen, by the process that started the proxy. wire_proxy_struck(): whether
 * such bytes have come since.
 */
void wire_proxy_strike(struct wire_proxy *proxy, unsigned int connection, bool to_source);
bool wire_proxy_struck(const struct wire_proxy *proxy);
void wire_proxy_stop(struct wire_proxy *proxy);

#endif

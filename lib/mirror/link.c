/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/link.h"

#include <errno.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "lib/util/page.h"

struct mirror_link {
	int socket;
	bool ended; /* and all that it wrote is in the bitmap, */
	bool lost; /* or this is set until it is taken for having written everything */
	struct mirror_offer offer; /* without descriptors that are its own */
	uint64_t npages;
	_Atomic uint64_t *bitmap; /* shared with the other process */
};

static size_t bitmap_bytes(const struct mirror_link *l)
{
	return l->npages / 8;
}

/* Its size is sealed, so that the other process cannot cut it off under this one's hands. */
static int make_bitmap(struct mirror_link *l)
{
	int fd = memfd_create("sevmirror-dirty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at;
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bitmap_bytes(l)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto fail;
	at = mmap(NULL, bitmap_bytes(l), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		goto fail;
	l->bitmap = at;
	return fd;
fail:
	err = -errno;
	close(fd);
	return err;
}

int mirror_link_open(struct mirror_link **link, const struct mirror_offer *offer, int *peer)
{
	struct mirror_link *l = calloc(1, sizeof(*l));
	int pair[2] = { -1, -1 }, err = 0;
	unsigned int i;

	*link = NULL;
	if (!l)
		return -ENOMEM;
	l->socket = -1;
	l->offer = *offer;
	for (i = 0; i < offer->nram; i++)
		l->npages += offer->ram[i].bytes / PAGE_BYTES;
	l->offer.dirty_fd = make_bitmap(l);
	if (l->offer.dirty_fd < 0)
		err = l->offer.dirty_fd;
	if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		err = -errno;
	l->socket = pair[0];
	if (!err)
		err = mirror_offer_send(l->socket, &l->offer);
	if (l->offer.dirty_fd >= 0)
		close(l->offer.dirty_fd);
	l->offer.dirty_fd = -1;
	if (err) {
		if (pair[1] >= 0)
			close(pair[1]);
		mirror_link_close(l);
		return err;
	}
	*link = l;
	*peer = pair[1];
	return 0;
}

void mirror_link_close(struct mirror_link *l)
{
	if (!l)
		return;
	if (l->socket >= 0)
		close(l->socket);
	if (l->bitmap)
		munmap(l->bitmap, bitmap_bytes(l));
	free(l);
}

bool mirror_link_ended(const struct mirror_link *l)
{
	struct pollfd p = { .fd = l->socket, .events = POLLRDHUP };

	return l->ended || (poll(&p, 1, 0) == 1 && p.revents);
}

/*
 * One that is silent and may write to the guest's memory delays a migration. Another one
 * is given up, and sees that when it comes to itself.
 */
static int silent(struct mirror_link *l)
{
	if (l->offer.workload.writes_memory)
		return -ETIMEDOUT;
	shutdown(l->socket, SHUT_RDWR);
	l->ended = l->lost = true;
	return 0;
}

/* Say word and wait for the answer: 0, or -ETIMEDOUT. */
static int ask(struct mirror_link *l, enum mirror_link_word word, int timeout_ms)
{
	const int answer = word == MIRROR_LINK_STOP ? MIRROR_LINK_STOPPED : MIRROR_LINK_FETCHED;
	uint64_t deadline = clock_ms() + (uint64_t)timeout_ms;
	int got = 0;

	/* That it cannot be told, because it has ended, is what comes instead of an answer. */
	if (!l->ended)
		(void)mirror_link_answer(l->socket, word);
	while (!l->ended && got != answer) {
		struct pollfd p = { .fd = l->socket, .events = POLLIN };
		uint64_t now = clock_ms();

		if (now >= deadline)
			return silent(l);
		if (poll(&p, 1, (int)(deadline - now)) <= 0)
			continue;
		got = mirror_link_read(l->socket);
		l->lost = got < 0;
		l->ended = got < 0 || got == MIRROR_LINK_STOPPED;
	}
	return 0;
}

static void merge(struct mirror_link *l, uint64_t *bitmap)
{
	uint64_t i;

	for (i = 0; i < l->npages / WORD_BITS; i++)
		if (atomic_load_explicit(&l->bitmap[i], memory_order_relaxed))
			bitmap[i] |= atomic_exchange(&l->bitmap[i], 0);
}

/* All that it could write. RAM and the region are whole 2 MiB, so their bits whole words. */
static void mark_all(const struct mirror_link *l, uint64_t *bitmap)
{
	const struct workload_plan *workload = &l->offer.workload;
	uint64_t first = 0;
	unsigned int i;

	for (i = 0; i < l->offer.nram; i++) {
		const struct sevmirror_ram_range *ram = &l->offer.ram[i];
		uint64_t at;

		for (at = 0; at < ram->bytes; at += WORD_BITS * PAGE_BYTES)
			if (workload->writes_memory ||
			    ram->gpa + at - workload->gpa < workload->bytes)
				bitmap[first + at / (WORD_BITS * PAGE_BYTES)] = UINT64_MAX;
		first += ram->bytes / (WORD_BITS * PAGE_BYTES);
	}
}

int mirror_link_fetch(struct mirror_link *l, uint64_t *bitmap, uint64_t npages, int timeout_ms)
{
	int err;

	if (npages != l->npages)
		return -EINVAL;
	err = ask(l, MIRROR_LINK_FETCH, timeout_ms);
	merge(l, bitmap);
	if (l->lost)
		mark_all(l, bitmap);
	l->lost = false;
	return err;
}

int mirror_link_stop(struct mirror_link *l, int timeout_ms)
{
	return ask(l, MIRROR_LINK_STOP, timeout_ms);
}

int mirror_link_read(int socket)
{
	uint32_t word;
	ssize_t got;

	do {
		got = recv(socket, &word, sizeof(word), 0);
	} while (got < 0 && errno == EINTR);
	if (got != sizeof(word) || word < MIRROR_LINK_FETCH || word > MIRROR_LINK_STOPPED)
		return -ECONNRESET;
	return (int)word;
}

int mirror_link_answer(int socket, enum mirror_link_word word)
{
	const uint32_t value = word;
	ssize_t sent;

	do {
		sent = send(socket, &value, sizeof(value), MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

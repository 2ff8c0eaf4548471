/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM offers to the process of a mirror (lib/mirror/attach.c), and words of the link: any
 * bytes, with any descriptors. What is taken makes sense, and whatever comes, no descriptor is left
 * over.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mirror/attach.h"
#include "lib/mirror/link.h"

#define FDS_MAX 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One message with n descriptors. */
static void say(int socket, const void *bytes, size_t len, unsigned int n)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec io = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1 };
	int fds[FDS_MAX];

	for (unsigned int i = 0; i < n; i++)
		fds[i] = socket;
	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	if (sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		abort();
}

static void judge(const struct mirror_offer *offer)
{
	uint64_t end = 0;

	if (offer->nram < 1 || offer->nram > REGION_RAM_MAX)
		abort();
	for (unsigned int i = 0; i < offer->nram; i++) {
		const struct sevmirror_ram_range *ram = &offer->ram[i];

		if (ram->gpa < end || !ram->bytes || ram->gpa + ram->bytes < ram->gpa ||
		    ram->fd < 0)
			abort();
		end = ram->gpa + ram->bytes;
	}
	if (offer->workload.bytes &&
	    (!workload_plan_ok(&offer->workload, offer->ram[0].gpa + offer->ram[0].bytes) ||
	     offer->dirty_fd < 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mirror_offer offer;
	int pair[2], next, word;

	if (size < 1 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return 0;
	say(pair[0], data + 1, size - 1, data[0] % (FDS_MAX + 1));
	say(pair[0], data + 1, size - 1 < 5 ? size - 1 : 5, 0);
	if (mirror_offer_receive(pair[1], 0, &offer) == 0) {
		judge(&offer);
		mirror_offer_close(&offer);
	}
	word = mirror_link_read(pair[1]);
	if (word != -ECONNRESET && (word < MIRROR_LINK_FETCH || word > MIRROR_LINK_STOPPED))
		abort();
	/* The lowest descriptor that is free is the same each time, if all are closed. */
	next = dup(pair[1]);
	if (next != pair[1] + 1)
		abort();
	close(next);
	close(pair[0]);
	close(pair[1]);
	return 0;
}

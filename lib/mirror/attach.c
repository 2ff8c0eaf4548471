/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/attach.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OFFER_MAGIC 0x464f524d564d5653ULL /* "SVMVMROF" */
#define FDS_MAX	    (3 + REGION_RAM_MAX)

/*
 * On the wire. RAM files come first among the descriptors, in order, then the VM's if there is one,
 * then the helper region's if it is offered, then the dirty bitmap's if there is a workload.
 */
struct message {
	uint64_t magic;
	uint64_t cbit_mask;
	uint64_t region_offset;
	uint32_t nram;
	uint32_t sev;
	uint32_t region;
	uint32_t reserved;
	struct {
		uint64_t gpa, bytes, offset;
	} ram[REGION_RAM_MAX];
	struct {
		uint64_t gpa, bytes, cr3, rip;
		uint64_t writes_memory;
		char name[PAYLOAD_NAME_BYTES];
	} workload;
};

static void put_workload(struct message *m, const struct workload_plan *plan)
{
	m->workload.gpa = plan->gpa;
	m->workload.bytes = plan->bytes;
	m->workload.cr3 = plan->cr3;
	m->workload.rip = plan->rip;
	m->workload.writes_memory = plan->writes_memory;
	memcpy(m->workload.name, plan->name, sizeof(m->workload.name));
}

static void take_workload(const struct message *m, struct workload_plan *plan)
{
	plan->gpa = m->workload.gpa;
	plan->bytes = m->workload.bytes;
	plan->cr3 = m->workload.cr3;
	plan->rip = m->workload.rip;
	plan->writes_memory = m->workload.writes_memory;
	memcpy(plan->name, m->workload.name, sizeof(plan->name));
}

int mirror_offer_send(int socket, const struct mirror_offer *offer)
{
	struct message m = {
		.magic = OFFER_MAGIC,
		.cbit_mask = offer->cbit_mask,
		.region_offset = offer->region_offset,
		.nram = offer->nram,
		.sev = offer->primary_fd >= 0,
		.region = offer->region_fd >= 0,
	};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec io = { .iov_base = &m, .iov_len = sizeof(m) };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control };
	int fds[FDS_MAX];
	unsigned int i;
	ssize_t sent;

	if (offer->nram < 1 || offer->nram > REGION_RAM_MAX)
		return -EINVAL;
	for (i = 0; i < offer->nram; i++) {
		m.ram[i].gpa = offer->ram[i].gpa;
		m.ram[i].bytes = offer->ram[i].bytes;
		m.ram[i].offset = offer->ram[i].offset;
		fds[i] = offer->ram[i].fd;
	}
	if (m.sev)
		fds[i++] = offer->primary_fd;
	if (m.region)
		fds[i++] = offer->region_fd;
	put_workload(&m, &offer->workload);
	if (offer->workload.bytes)
		fds[i++] = offer->dirty_fd;
	msg.msg_controllen = CMSG_SPACE(i * sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(i * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, i * sizeof(int));
	do {
		sent = sendmsg(socket, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return sent == sizeof(m) ? 0 : -EIO;
}

/* Take over all descriptors that came, whatever the message: what is not wanted must be closed. */
static unsigned int take_fds(struct msghdr *msg, int fds[FDS_MAX])
{
	struct cmsghdr *c;
	unsigned int n = 0;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t i, here;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < here; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < FDS_MAX)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int accept_offer(const struct message *m, const int *fds, unsigned int nfds,
			struct mirror_offer *offer)
{
	uint64_t end = 0;
	unsigned int i;

	if (m->magic != OFFER_MAGIC || m->nram < 1 || m->nram > REGION_RAM_MAX || m->sev > 1 ||
	    m->region > 1 || m->reserved || m->region_offset > INT64_MAX ||
	    m->workload.writes_memory > 1 ||
	    nfds != m->nram + m->sev + m->region + (m->workload.bytes ? 1 : 0))
		return -EPROTO;
	memset(offer, 0, sizeof(*offer));
	take_workload(m, &offer->workload);
	if (offer->workload.bytes &&
	    !workload_plan_ok(&offer->workload, m->ram[0].gpa + m->ram[0].bytes))
		return -EPROTO;
	offer->dirty_fd = offer->workload.bytes ? fds[nfds - 1] : -1;
	offer->primary_fd = m->sev ? fds[m->nram] : -1;
	offer->cbit_mask = m->cbit_mask;
	offer->region_fd = m->region ? fds[m->nram + m->sev] : -1;
	offer->region_offset = m->region_offset;
	offer->nram = m->nram;
	for (i = 0; i < m->nram; i++) {
		if (m->ram[i].gpa < end || m->ram[i].bytes == 0 ||
		    m->ram[i].bytes > UINT64_MAX - m->ram[i].gpa || m->ram[i].offset > INT64_MAX)
			return -EPROTO;
		end = m->ram[i].gpa + m->ram[i].bytes;
		offer->ram[i] = (struct sevmirror_ram_range){
			.gpa = m->ram[i].gpa,
			.bytes = m->ram[i].bytes,
			.offset = m->ram[i].offset,
			.fd = fds[i],
		};
	}
	return 0;
}

static int wait_for_offer(int socket, int timeout_ms)
{
	struct pollfd p = { .fd = socket, .events = POLLIN };
	int n;

	do {
		n = poll(&p, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

int mirror_offer_receive(int socket, int timeout_ms, struct mirror_offer *offer)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct message m = { 0 };
	struct iovec io = { .iov_base = &m, .iov_len = sizeof(m) };
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fds[FDS_MAX] = { 0 };
	unsigned int nfds;
	ssize_t got;
	int error;

	error = wait_for_offer(socket, timeout_ms);
	if (error)
		return error;
	do {
		got = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	nfds = take_fds(&msg, fds);
	error = got == 0 ? -ECONNRESET : -EPROTO;
	if (got == sizeof(m) && !(msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
		error = accept_offer(&m, fds, nfds, offer);
	while (error && nfds > 0)
		close(fds[--nfds]);
	return error;
}

void mirror_offer_close(struct mirror_offer *offer)
{
	unsigned int i;

	for (i = 0; i < offer->nram; i++)
		if (offer->ram[i].fd >= 0)
			close(offer->ram[i].fd);
	if (offer->primary_fd >= 0)
		close(offer->primary_fd);
	if (offer->region_fd >= 0)
		close(offer->region_fd);
	if (offer->workload.bytes)
		close(offer->dirty_fd);
	offer->workload.bytes = 0;
	offer->region_fd = -1;
	offer->nram = 0;
	offer->primary_fd = -1;
}

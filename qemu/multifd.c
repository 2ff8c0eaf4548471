/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages by multifd: each channel has a lane of the session, and so a vCPU of the helper. A packet
 * takes the pages of QEMU's queue, which has both kinds. After QEMU's header (its offsets are those
 * of the shared pages):
 *
 *   the shared pages that are not zero, as QEMU sends them
 *   sealed_pages private pages, in batches of up to 64: its records, then their bodies
 *
 * A page is in one channel at a time: QEMU sends it again only after all channels have answered a
 * SYNC packet, and recv() returns when its pages have been opened.
 */
#include "internal.h"

#include "exec/ramblock.h"
#include "io/channel.h"
#include "migration/migration.h"
#include "migration/migration-stats.h"
#include "migration/multifd.h"
#include "migration/options.h"
#include "qemu/error-report.h"

#define PACKET_PAGES   (MULTIFD_PACKET_SIZE / SEVMIRROR_PAGE_BYTES)
#define PACKET_BATCHES (PACKET_PAGES / SEVMIRROR_BATCH_MAX)

QEMU_BUILD_BUG_ON(PACKET_BATCHES > SESSION_DEPTH);

/* A channel at either side. */
struct channel {
	SevmirrorHelper *helper; /* source: while the channel uses the session */
	uint64_t gpas[PACKET_PAGES];
	struct sevmirror_batch batch[PACKET_BATCHES];
};

static unsigned int batch_pages(unsigned int sealed, unsigned int batch)
{
	return MIN(sealed - batch * SEVMIRROR_BATCH_MAX, SEVMIRROR_BATCH_MAX);
}

static size_t batch_bytes(unsigned int npages)
{
	return SEVMIRROR_BATCH_BYTES(npages) + npages * SEVMIRROR_PAGE_BYTES;
}

static uint32_t payload_bytes(unsigned int plain, unsigned int sealed)
{
	size_t bytes = plain * SEVMIRROR_PAGE_BYTES;
	unsigned int b;

	for (b = 0; b * SEVMIRROR_BATCH_MAX < sealed; b++)
		bytes += batch_bytes(batch_pages(sealed, b));
	return (uint32_t)bytes;
}

static void add_iov(MultiFDSendParams *p, void *base, size_t len)
{
	p->iov[p->iovs_num++] = (struct iovec){ .iov_base = base, .iov_len = len };
}

static int send_setup(MultiFDSendParams *p, Error **errp)
{
	/* The header, each page in plain; a batch has fewer parts than pages. */
	p->iov = g_new0(struct iovec, 1 + PACKET_PAGES + 2 * PACKET_BATCHES);
	p->compress_data = g_new0(struct channel, 1);
	return 0;
}

/* The channel's thread has ended. */
static void send_cleanup(MultiFDSendParams *p, Error **errp)
{
	struct channel *channel = p->compress_data;

	if (channel && channel->helper)
		session_put(channel->helper);
	g_free(channel);
	p->compress_data = NULL;
	g_free(p->iov);
	p->iov = NULL;
}

/* Private pages go from QEMU's queue to gpas. How many. */
static unsigned int take_private(const SevmirrorHelper *helper, MultiFDPages_t *pages,
				 uint64_t *gpas)
{
	unsigned int sealed = 0, plain = 0, i;

	for (i = 0; i < pages->num; i++) {
		ram_addr_t offset = pages->offset[i];

		if (page_private(helper, pages->block, offset, &gpas[sealed]))
			sealed++;
		else
			pages->offset[plain++] = offset;
	}
	pages->num = plain;
	return sealed;
}

static int submit(SevmirrorHelper *helper, unsigned int lane, const uint64_t *gpas,
		  unsigned int sealed)
{
	unsigned int b, taken;
	int err = 0;

	for (b = 0; !err && b * SEVMIRROR_BATCH_MAX < sealed; b++) {
		unsigned int n = batch_pages(sealed, b);

		err = sevmirror_lane_seal_submit(helper->session, lane, b,
						 gpas + b * SEVMIRROR_BATCH_MAX, n, false, &taken);
		if (!err && taken != n)
			err = -EIO;
	}
	return err;
}

/* Wait for the batches, and add them to what is sent. */
static int finish(SevmirrorHelper *helper, MultiFDSendParams *p, unsigned int sealed)
{
	struct channel *channel = p->compress_data;
	unsigned int b;
	int err = 0;

	for (b = 0; !err && b * SEVMIRROR_BATCH_MAX < sealed; b++) {
		unsigned int n = batch_pages(sealed, b);

		err = sevmirror_lane_seal_finish(helper->session, p->id, b, &channel->batch[b]);
		add_iov(p, &channel->batch[b], SEVMIRROR_BATCH_BYTES(n));
		add_iov(p, sevmirror_lane_bodies(helper->session, p->id, b),
			n * SEVMIRROR_PAGE_BYTES);
	}
	return err;
}

/* The channel's thread. What iov points to is sent before the next call. */
static int send_prepare(MultiFDSendParams *p, Error **errp)
{
	struct channel *channel = p->compress_data;
	MultiFDPages_t *pages = &p->data->u.ram;
	unsigned int sealed, i;
	int err;

	if (!channel->helper)
		channel->helper = session_get();
	if (!channel->helper) {
		error_setg(errp, "multifd %u: the sealing session has ended", p->id);
		return -1;
	}
	sealed = take_private(channel->helper, pages, channel->gpas);
	err = submit(channel->helper, p->id, channel->gpas, sealed);
	multifd_send_zero_page_detect(p);
	add_iov(p, p->packet, p->packet_len);
	for (i = 0; i < pages->normal_num; i++)
		add_iov(p, pages->block->host + pages->offset[i], SEVMIRROR_PAGE_BYTES);
	if (!err)
		err = finish(channel->helper, p, sealed);
	if (err) {
		error_setg(errp, "multifd %u: %s", p->id, session_why(channel->helper, err));
		return -1;
	}
	p->flags |= MULTIFD_FLAG_SEVMIRROR;
	p->next_packet_size = payload_bytes(pages->normal_num, sealed);
	multifd_send_fill_packet(p);
	p->packet->sealed_pages = cpu_to_be32(sealed);
	stat64_add(&mig_stats.normal_pages, sealed);
	return 0;
}

static int recv_setup(MultiFDRecvParams *p, Error **errp)
{
	p->iov = g_new0(struct iovec, PACKET_PAGES);
	p->compress_data = g_new0(struct channel, 1);
	return 0;
}

static void recv_cleanup(MultiFDRecvParams *p)
{
	g_free(p->compress_data);
	p->compress_data = NULL;
	g_free(p->iov);
	p->iov = NULL;
}

/* A page that arrived sealed before may be a zero page now: QEMU's own way would leave it alone. */
static int recv_plain(MultiFDRecvParams *p, Error **errp)
{
	unsigned int i;

	for (i = 0; i < p->zero_num; i++) {
		ram_handle_zero(p->host + p->zero[i], SEVMIRROR_PAGE_BYTES);
		ramblock_recv_bitmap_set_offset(p->block, p->zero[i]);
	}
	for (i = 0; i < p->normal_num; i++) {
		p->iov[i].iov_base = p->host + p->normal[i];
		p->iov[i].iov_len = SEVMIRROR_PAGE_BYTES;
		ramblock_recv_bitmap_set_offset(p->block, p->normal[i]);
	}
	return p->normal_num ? qio_channel_readv_all(p->c, p->iov, p->normal_num, errp) : 0;
}

/* One batch into its slot, where the helper opens it while the next one is read. */
static int recv_batch(SevmirrorHelper *helper, MultiFDRecvParams *p, unsigned int b, unsigned int n,
		      Error **errp)
{
	struct channel *channel = p->compress_data;
	struct sevmirror_batch *batch = &channel->batch[b];
	struct iovec parts[] = {
		{ .iov_base = batch, .iov_len = SEVMIRROR_BATCH_BYTES(n) },
		{ .iov_base = sevmirror_lane_bodies(helper->session, p->id, b),
		  .iov_len = n * SEVMIRROR_PAGE_BYTES },
	};
	unsigned int i, bodies = 0;
	int err;

	if (!parts[1].iov_base) {
		error_setg(errp, "multifd %u: the session has no lane for it", p->id);
		return -1;
	}
	if (qio_channel_readv_all(p->c, parts, ARRAY_SIZE(parts), errp))
		return -1;
	for (i = 0; i < n; i++)
		bodies += batch->record[i].kind == SEVMIRROR_PAGE;
	if (batch->count != n || bodies != n) {
		error_setg(errp, "multifd %u: what came is not a batch of %u sealed pages", p->id,
			   n);
		return -1;
	}
	err = sevmirror_lane_open_submit(helper->session, p->id, b, batch, false);
	if (err)
		error_setg(errp, "multifd %u: %s", p->id, session_why(helper, err));
	return err;
}

/* After a failure, too, each batch that was submitted is waited for: the slots are free again. */
static int recv_sealed(SevmirrorHelper *helper, MultiFDRecvParams *p, unsigned int sealed,
		       Error **errp)
{
	struct channel *channel = p->compress_data;
	uint8_t opened[SEVMIRROR_BATCH_MAX];
	unsigned int b, submitted = 0;
	int err, first = 0;

	for (b = 0; !first && b * SEVMIRROR_BATCH_MAX < sealed; b++) {
		first = recv_batch(helper, p, b, batch_pages(sealed, b), errp);
		if (!first)
			submitted++;
	}
	for (b = 0; b < submitted; b++) {
		err = sevmirror_lane_open_finish(helper->session, p->id, b, opened);
		if (!err)
			pages_unmark_opened(helper, &channel->batch[b], opened);
		if (!err || first)
			continue;
		first = err;
		error_setg(errp, "multifd %u: %s", p->id, session_why(helper, err));
	}
	return first;
}

/* The channel's thread. QEMU has checked the numbers of pages in plain, and their offsets. */
static int recv_packet(MultiFDRecvParams *p, Error **errp)
{
	unsigned int plain = p->normal_num + p->zero_num;
	unsigned int sealed = be32_to_cpu(p->packet->sealed_pages);
	SevmirrorHelper *helper;
	int err;

	if (p->flags != MULTIFD_FLAG_SEVMIRROR || plain > PACKET_PAGES ||
	    sealed > PACKET_PAGES - plain ||
	    p->next_packet_size != payload_bytes(p->normal_num, sealed)) {
		error_setg(
			errp,
			"multifd %u: a packet with flags %#x, %u pages in plain, %u sealed pages "
			"and %u bytes is not one of an SEV guest",
			p->id, p->flags, plain, sealed, p->next_packet_size);
		return -1;
	}
	helper = session_get();
	if (!helper) {
		error_setg(errp, "multifd %u: pages came outside of the sealing session", p->id);
		return -1;
	}
	err = recv_plain(p, errp);
	if (!err)
		err = recv_sealed(helper, p, sealed, errp);
	session_put(helper);
	return err;
}

static const MultiFDMethods sealed_ops = {
	.send_setup = send_setup,
	.send_cleanup = send_cleanup,
	.send_prepare = send_prepare,
	.recv_setup = recv_setup,
	.recv_cleanup = recv_cleanup,
	.recv = recv_packet,
};

const MultiFDMethods *sevmirror_multifd_ops(const MultiFDMethods *ops)
{
	return sevmirror_active() ? &sealed_ops : ops;
}

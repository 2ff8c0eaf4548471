/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/psp-sev.h>

#include "helper/layout.h"
#include "lib/migrate/message.h"
#include "lib/migrate/session.h"
#include "lib/sev/guest.h"
#include "lib/sev/platform.h"
#include "lib/util/page.h"

static void *core_page(const struct sevmirror_migration *m, uint32_t index)
{
	return (uint8_t *)m->vm.helper.hva + index * PAGE_BYTES;
}

/* What the firmware was given for this guest since the last call. */
static void count_commands(struct sevmirror_migration *m)
{
	uint64_t now = sev_guest_commands(m->vm.sev);

	m->summary->psp_commands += (unsigned int)(now - m->commands_counted);
	m->commands_counted = now;
}

static int fail_firmware(struct sevmirror_migration *m, int err, const char *what,
			 const struct sev_error *error)
{
	struct why why;

	why_sev(&why, err, error);
	why_prefix(&why, "%s: ", what);
	return session_fail_why(m, &why);
}

/* SEND_START, and what the target needs for its RECEIVE_START. */
static int send_start(struct sevmirror_migration *m, uint32_t npages,
		      const struct peer_certs *certs)
{
	const uint8_t *bytes = certs->bytes;
	struct sev_send_target target = {
		.pdh = bytes,
		.chain = bytes + certs->pdh_bytes,
		.vendor_chain = m->source.vendor_chain ?
					m->source.vendor_chain :
					bytes + certs->pdh_bytes + certs->chain_bytes,
		.vendor_chain_bytes =
			m->source.vendor_chain ? m->source.vendor_chain_bytes : certs->vendor_bytes,
	};
	struct wire_psp_start start = { .pdh_bytes = SEV_CERT_BYTES,
					.session_bytes = sizeof(struct sev_session_blob),
					.npages = npages };
	uint8_t pdh[SEV_CERT_BYTES], chain[SEV_CERT_CHAIN_BYTES];
	struct sev_session_blob session;
	struct sev_error error;
	int err;

	err = sev_guest_send_start(m->vm.sev, &target, &start.policy, &session, &error);
	if (err && error.fw == SEV_RET_INVALID_GUEST_STATE) {
		struct sev_error unused;

		/*
		 * The firmware still sends the guest for an earlier migration, whose SEND_CANCEL
		 * failed.
		 */
		if (!sev_guest_send_cancel(m->vm.sev, &unused))
			err = sev_guest_send_start(m->vm.sev, &target, &start.policy, &session,
						   &error);
	}
	count_commands(m);
	if (!err) {
		err = sev_platform_export_certs(m->vm.sev_fd, pdh, chain, &error);
		if (!err || error.fw != SEV_FW_NO_CALL)
			m->summary->psp_commands++;
	}
	if (err)
		return fail_firmware(
			m, err, "the source's secure processor refuses to send this guest", &error);
	const struct message_part parts[] = { { &start, sizeof(start) },
					      { pdh, sizeof(pdh) },
					      { &session, sizeof(session) } };

	return session_send_parts(m, WIRE_PSP_START, parts, 3);
}

static int send_page_by_psp(struct sevmirror_migration *m, uint32_t index)
{
	struct wire_psp_packet packet = { .index = index,
					  .header_bytes = sizeof(struct sev_packet_header),
					  .bytes = PAGE_BYTES };
	uint8_t transport[PAGE_BYTES];
	struct sev_packet_header header;
	struct sev_error error;
	int err = sev_guest_send_update_data(m->vm.sev, core_page(m, index), PAGE_BYTES, &header,
					     transport, &error);

	count_commands(m);
	if (err)
		return fail_firmware(m, err, "sending a page of the helper's core from the source",
				     &error);
	const struct message_part parts[] = { { &packet, sizeof(packet) },
					      { &header, sizeof(header) },
					      { transport, sizeof(transport) } };

	return session_send_parts(m, WIRE_PSP_PACKET, parts, 3);
}

static int send_page_in_clear(struct sevmirror_migration *m, uint32_t index)
{
	const struct message_part parts[] = { { &index, sizeof(index) },
					      { core_page(m, index), PAGE_BYTES } };
	return session_send_parts(m, WIRE_CORE_SECRET, parts, 2);
}

int core_transfer_send(struct sevmirror_migration *m, uint64_t core_bytes,
		       const struct peer_certs *certs)
{
	uint32_t npages = (uint32_t)(core_bytes / PAGE_BYTES);
	int err = 0;

	if (m->vm.sev) {
		m->commands_counted = sev_guest_commands(m->vm.sev);
		err = send_start(m, npages, certs);
	}
	for (uint32_t i = 0; i < npages && !err && !session_cancelled(m); i++)
		err = m->vm.sev ? send_page_by_psp(m, i) : send_page_in_clear(m, i);
	if (!err && session_cancelled(m))
		err = -ECANCELED;
	if (!err)
		err = session_send(m, WIRE_CORE_DONE, NULL, 0);
	return err;
}

static int receive_start(struct sevmirror_migration *m, uint32_t npages)
{
	uint8_t body[sizeof(struct wire_psp_start) + SEV_CERT_BYTES +
		     sizeof(struct sev_session_blob)];
	struct wire_psp_start start;
	struct sev_session_blob session;
	struct sev_error error;
	int err = session_recv(m, WIRE_PSP_START, body, sizeof(body));

	if (err)
		return err;
	memcpy(&start, body, sizeof(start));
	memcpy(&session, body + sizeof(start) + SEV_CERT_BYTES, sizeof(session));
	if (start.pdh_bytes != SEV_CERT_BYTES || start.session_bytes != sizeof(session) ||
	    start.npages != npages)
		return session_fail(
			m, -EPROTO,
			"the source sends another helper core than the target's (%u pages instead "
			"of %u)",
			start.npages, npages);
	err = sev_guest_receive_start(m->vm.sev, start.policy, body + sizeof(start), &session,
				      &error);
	count_commands(m);
	return err ? fail_firmware(m, err,
				   "the target's secure processor refuses to receive this guest",
				   &error) :
		     0;
}

static int receive_page_by_psp(struct sevmirror_migration *m, uint32_t index)
{
	uint8_t body[sizeof(struct wire_psp_packet) + sizeof(struct sev_packet_header) +
		     PAGE_BYTES];
	const uint8_t *transport =
		body + sizeof(struct wire_psp_packet) + sizeof(struct sev_packet_header);
	struct wire_psp_packet packet;
	struct sev_packet_header header;
	struct sev_error error;
	int err = session_recv(m, WIRE_PSP_PACKET, body, sizeof(body));

	if (err)
		return err;
	memcpy(&packet, body, sizeof(packet));
	memcpy(&header, body + sizeof(packet), sizeof(header));
	if (packet.index != index || packet.header_bytes != sizeof(header) ||
	    packet.bytes != PAGE_BYTES)
		return session_fail(
			m, -EPROTO,
			"the source sent page %u of the helper's core instead of page %u",
			packet.index, index);
	err = sev_guest_receive_update_data(m->vm.sev, &header, transport, PAGE_BYTES,
					    core_page(m, index), &error);
	count_commands(m);
	return err ? fail_firmware(m, err, "receiving a page of the helper's core at the target",
				   &error) :
		     0;
}

static int receive_page_in_clear(struct sevmirror_migration *m, uint32_t index)
{
	uint8_t body[sizeof(uint32_t) + PAGE_BYTES];
	uint32_t got;
	int err = session_recv(m, WIRE_CORE_SECRET, body, sizeof(body));

	if (!err) {
		memcpy(&got, body, sizeof(got));
		if (got != index)
			err = session_fail(
				m, -EPROTO,
				"the source sent page %u of the helper's core instead of page %u",
				got, index);
		else
			memcpy(core_page(m, index), body + sizeof(got), PAGE_BYTES);
	}
	explicit_bzero(body, sizeof(body));
	return err;
}

int core_transfer_receive(struct sevmirror_migration *m, uint64_t core_bytes)
{
	uint32_t npages = (uint32_t)(core_bytes / PAGE_BYTES);
	struct sev_error error;
	int err = 0;

	if (m->vm.sev) {
		m->commands_counted = sev_guest_commands(m->vm.sev);
		err = receive_start(m, npages);
	}
	for (uint32_t i = 0; i < npages && !err; i++)
		err = m->vm.sev ? receive_page_by_psp(m, i) : receive_page_in_clear(m, i);
	if (!err)
		err = session_recv(m, WIRE_CORE_DONE, NULL, 0);
	if (!err && m->vm.sev) {
		/*
		 * At once, so that the mirror never runs under a context that is still receiving.
		 */
		err = sev_guest_receive_finish(m->vm.sev, &error);
		count_commands(m);
		if (err)
			fail_firmware(
				m, err,
				"the target's secure processor cannot finish receiving the guest",
				&error);
	}
	return err;
}

void core_transfer_cancel(struct sevmirror_migration *m)
{
	struct sev_error error;

	if (!m->vm.sev)
		return;
	/*
	 * Also when SEND_START failed: then the firmware says INVALID_GUEST_STATE, and the guest is
	 * where it should be.
	 */
	(void)sev_guest_send_cancel(m->vm.sev, &error);
	count_commands(m);
}

void core_transfer_finish(struct sevmirror_migration *m)
{
	struct sev_error error;
	int err;

	if (!m->vm.sev)
		return;
	err = sev_guest_send_finish(m->vm.sev, &error);
	count_commands(m);
	if (!err)
		return;
	/*
	 * The guest has left, so this is no failure; destroying the VM ends the firmware's context
	 * as well.
	 */
	snprintf(m->summary->warning, sizeof(m->summary->warning),
		 "the guest runs at the target, but the source's secure processor did not finish "
		 "sending it: %.300s",
		 error.message);
}

void core_transfer_forget(struct sevmirror_migration *m)
{
	if (!m->vm.sev)
		explicit_bzero(core_page(m, HELPER_CORE_KEYS), PAGE_BYTES);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "service/payload_log.h"

/* It goes to a terminal, which is not the payload's to command; some take U+009B for an escape. */
static int printable(char c)
{
	unsigned char u = (unsigned char)c;

	return (u < 0x20 && u != '\n' && u != '\t') || u >= 0x7f ? '?' : u;
}

/* The log is a ring that the payload writes at any time. */
void payload_log_show(const struct payload_shared *shared, uint64_t *shown, FILE *stream)
{
	uint64_t written = __atomic_load_n(&shared->log_written, __ATOMIC_ACQUIRE), i;

	if (written - *shown > PAYLOAD_LOG_BYTES)
		*shown = written - PAYLOAD_LOG_BYTES;
	for (i = *shown; i < written; i++)
		putc(printable(shared->log[i % PAYLOAD_LOG_BYTES]), stream);
	*shown = written;
	fflush(stream);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever can reach the metrics' address: requests of any bytes. What was decided about a request
 * does not change by what comes behind it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum http_request last = HTTP_INCOMPLETE, now;

	/*
	 * As the server does: each time that more has come. A copy of its own shows a read behind
	 * the end.
	 */
	for (size_t len = 0; len <= size && last == HTTP_INCOMPLETE; len += 1 + len / 8) {
		char *copy = malloc(len ? len : 1);

		if (!copy)
			return 0;
		memcpy(copy, data, len);
		now = http_parse(copy, len);
		free(copy);
		if (now == HTTP_INCOMPLETE && len >= HTTP_REQUEST_MAX)
			abort();
		if ((now == HTTP_GET || now == HTTP_HEAD) &&
		    (!memmem(data, len, "/metrics", 8) || !memmem(data, len, "\r\n\r\n", 4)))
			abort();
		last = now;
	}
	return 0;
}

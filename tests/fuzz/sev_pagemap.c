/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest's hypercalls (24 bytes each), then the rest as a saved map from a network. The
 * helper region must stay private.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>

#define NPAGES 700
#define KEPT   100
#define NKEPT  70

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct sev_pagemap *map)
{
	uint64_t gfn = 0, n, shared = 0;
	bool private;

	for (uint64_t i = KEPT; i < KEPT + NKEPT; i++) {
		if (!sev_pagemap_is_private(map, i))
			abort();
	}
	for (; (n = sev_pagemap_run(map, gfn, &private)) > 0; gfn += n)
		shared += private ? 0 : n;
	if (gfn != NPAGES || shared != sev_pagemap_count_shared(map))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sev_pagemap *map;
	size_t calls;

	if (len < 1 || sev_pagemap_create(&map, NPAGES))
		return 0;
	sev_pagemap_set_always_private(map, KEPT, NKEPT);
	calls = data[0] % 8;
	data++;
	len--;
	for (; calls && len >= 24; calls--, data += 24, len -= 24) {
		uint64_t args[3];

		memcpy(args, data, sizeof(args));
		sev_pagemap_hypercall(map, args);
	}
	check(map);
	sev_pagemap_load(map, data, len);
	check(map);
	sev_pagemap_destroy(map);
	return 0;
}

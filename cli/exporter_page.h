/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics of several VMs as one page: each VM's answer to query-metrics (docs/control.md) with
 * the label vm="NAME" added. A VM's process is a trust boundary, as its guest may have taken it
 * over: what it says is checked, and a family or sample that Prometheus would refuse is left out.
 */
#ifndef CLI_EXPORTER_PAGE_H
#define CLI_EXPORTER_PAGE_H

#include <jansson.h>

#define EXPORTER_FAMILIES_MAX 256 /* of a VM */
#define EXPORTER_SAMPLES_MAX  65536 /* of a VM */

struct exporter_page;

/* NULL: out of memory. */
struct exporter_page *exporter_page_create(void);

/* metrics: what query-metrics returned, borrowed; NULL: the VM did not answer (vm_up is 0). */
void exporter_page_add(struct exporter_page *page, const char *vm, const json_t *metrics);

/* The page as Prometheus text, for the caller to free, or NULL: out of memory. Releases page. */
char *exporter_page_finish(struct exporter_page *page);

#endif

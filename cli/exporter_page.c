/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/exporter_page.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "control/metrics.h"

#define UP_FAMILY "sevmirror_vm_up"

struct exporter_page {
	json_t *families; /* by name: {name, type, help, samples}, in the order of their coming */
	bool failed;
};

/* [a-z_][a-z0-9_]*: a part of what Prometheus allows, and all that we use. */
static bool name_valid(const char *name)
{
	if (!name || (!islower((unsigned char)*name) && *name != '_'))
		return false;
	for (; *name; name++)
		if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) &&
		    *name != '_')
			return false;
	return true;
}

static const char *text(const json_t *object, const char *member)
{
	return json_string_value(json_object_get(object, member));
}

static json_t *new_family(const char *name, const char *type, const char *help)
{
	return json_pack("{s:s, s:s, s:s, s:[]}", "name", name, "type", type, "help", help,
			 "samples");
}

/* The page's family of this name, made if it is new. NULL: the VMs differ about its type. */
static json_t *family_of(struct exporter_page *page, const char *name, const char *type,
			 const char *help)
{
	json_t *family = json_object_get(page->families, name);

	if (family)
		return strcmp(text(family, "type"), type) ? NULL : family;
	family = new_family(name, type, help);
	page->failed |= !family || json_object_set_new(page->families, name, family);
	return page->failed ? NULL : family;
}

/* The sample's labels with the VM's in front; NULL if one is not valid. */
static json_t *labels_of(const char *vm, json_t *from)
{
	json_t *labels = json_pack("{s:s}", "vm", vm);
	bool valid = labels && json_is_object(from);

	for (void *i = json_object_iter(from); valid && i; i = json_object_iter_next(from, i)) {
		const char *key = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);

		valid = name_valid(key) && strcmp(key, "vm") != 0 && json_is_string(value) &&
			!json_object_set(labels, key, value);
	}
	if (valid)
		return labels;
	json_decref(labels);
	return NULL;
}

static void add_sample(struct exporter_page *page, json_t *family, const char *vm,
		       const json_t *sample)
{
	json_t *value = json_object_get(sample, "value");
	json_t *labels = labels_of(vm, json_object_get(sample, "labels"));

	if (labels && json_is_number(value))
		page->failed |= json_array_append_new(json_object_get(family, "samples"),
						      json_pack("{s:O, s:O}", "labels", labels,
								"value", value)) != 0;
	json_decref(labels);
}

static void add_family(struct exporter_page *page, const char *vm, const json_t *from,
		       size_t *samples_left)
{
	const char *name = text(from, "name"), *type = text(from, "type"),
		   *help = text(from, "help");
	const json_t *samples = json_object_get(from, "samples");
	json_t *family;

	if (!name_valid(name) || strcmp(name, UP_FAMILY) == 0 || !type || !help ||
	    (strcmp(type, "counter") != 0 && strcmp(type, "gauge") != 0) ||
	    json_array_size(samples) > *samples_left)
		return;
	family = family_of(page, name, type, help);
	*samples_left -= json_array_size(samples);
	for (size_t i = 0; family && i < json_array_size(samples); i++)
		add_sample(page, family, vm, json_array_get(samples, i));
}

struct exporter_page *exporter_page_create(void)
{
	struct exporter_page *page = calloc(1, sizeof(*page));

	if (!page)
		return NULL;
	page->families = json_object();
	(void)family_of(page, UP_FAMILY, "gauge",
			"1 for a VM that has answered, 0 for one that has not.");
	return page;
}

void exporter_page_add(struct exporter_page *page, const char *vm, const json_t *metrics)
{
	const json_t *families = json_object_get(metrics, "metrics");
	bool up = json_integer_value(json_object_get(metrics, "version")) == METRICS_VERSION;
	size_t samples_left = EXPORTER_SAMPLES_MAX;

	page->failed |=
		json_array_append_new(
			json_object_get(json_object_get(page->families, UP_FAMILY), "samples"),
			json_pack("{s:{s:s}, s:i}", "labels", "vm", vm, "value", (int)up)) != 0;
	if (!up)
		return;
	for (size_t i = 0; i < json_array_size(families) && i < EXPORTER_FAMILIES_MAX; i++)
		add_family(page, vm, json_array_get(families, i), &samples_left);
}

char *exporter_page_finish(struct exporter_page *page)
{
	json_t *list = json_array();
	char *out = NULL;

	for (void *i = json_object_iter(page->families); i;
	     i = json_object_iter_next(page->families, i))
		page->failed |= json_array_append(list, json_object_iter_value(i)) != 0;
	if (!page->failed) {
		json_t *all = json_pack("{s:O}", "metrics", list);

		out = all ? metrics_text(all) : NULL;
		json_decref(all);
	}
	json_decref(list);
	json_decref(page->families);
	free(page);
	return out;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object sevmirror-helper: the guest is launched with the Migration Helper, and can be migrated.
 * It is created before the machine, as sev-guest is.
 */
#include "internal.h"

#include "cpu.h"
#include "hw/boards.h"
#include "kvm/kvm_i386.h"
#include "qapi/qapi-types-sevmirror.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qom/object_interfaces.h"
#include "sev.h"
#include "system/kvm.h"
#include "system/sevmirror.h"
#include "system/system.h"

#include <linux/kvm_para.h>

static SevmirrorHelper *the_helper;
static Notifier machine_done;

SevmirrorHelper *sevmirror_active(void)
{
	bool can = sev_enabled() ? !sev_es_enabled() : the_helper && the_helper->plain;

	return can ? the_helper : NULL;
}

uint32_t sevmirror_kvm_features(void)
{
	return sev_enabled() && sevmirror_active() ?
		       1u << KVM_FEATURE_HC_MAP_GPA_RANGE | 1u << KVM_FEATURE_MIGRATION_CONTROL :
		       0;
}

static void on_machine_done(Notifier *notifier, void *unused)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper)
		return;
	if (!sev_enabled()) {
		sevmirror_init(-1);
		sevmirror_launch();
	}
	shared_map_init(helper);
	session_init(helper);
	if (!sev_enabled())
		return;
	/* KVM answers the hypercall with ENOSYS until this is said. */
	if (!kvm_enable_hypercall(BIT_ULL(KVM_HC_MAP_GPA_RANGE))) {
		error_report(
			"sevmirror-helper: this kernel's KVM has no KVM_CAP_EXIT_HYPERCALL (Linux "
			"5.14); the guest could not tell which pages it shares");
		exit(1);
	}
}

static void helper_complete(UserCreatable *user, Error **errp)
{
	SevmirrorHelper *helper = SEVMIRROR_HELPER(user);
	g_autoptr(GError) error = NULL;

	if (the_helper) {
		error_setg(errp, "a guest has one sevmirror-helper object, this is the second");
		return;
	}
	if (phase_check(PHASE_MACHINE_CREATED)) {
		error_setg(errp,
			   "the sevmirror-helper object belongs on the command line: the Migration "
			   "Helper is launched with the guest");
		return;
	}
	if (helper->vendor_chain &&
	    !g_file_get_contents(helper->vendor_chain, &helper->vendor_chain_bytes,
				 &helper->vendor_chain_len, &error)) {
		error_setg(errp, "vendor-chain: %s", error->message);
		return;
	}
	the_helper = helper;
	machine_done.notify = on_machine_done;
	qemu_add_machine_init_done_notifier(&machine_done);
}

/* A guest that was launched with the helper keeps it. */
static bool helper_can_be_deleted(UserCreatable *user)
{
	return false;
}

static char *helper_get_vendor_chain(Object *obj, Error **errp)
{
	return g_strdup(SEVMIRROR_HELPER(obj)->vendor_chain);
}

static void helper_set_vendor_chain(Object *obj, const char *value, Error **errp)
{
	SevmirrorHelper *helper = SEVMIRROR_HELPER(obj);

	g_free(helper->vendor_chain);
	helper->vendor_chain = g_strdup(value);
}

static bool helper_get_plain(Object *obj, Error **errp)
{
	return SEVMIRROR_HELPER(obj)->plain;
}

static void helper_set_plain(Object *obj, bool value, Error **errp)
{
	SEVMIRROR_HELPER(obj)->plain = value;
}

static void helper_class_init(ObjectClass *class, void *data)
{
	UserCreatableClass *user = USER_CREATABLE_CLASS(class);

	user->complete = helper_complete;
	user->can_be_deleted = helper_can_be_deleted;
	object_class_property_add_str(class, "vendor-chain", helper_get_vendor_chain,
				      helper_set_vendor_chain);
	object_class_property_add_bool(class, "x-plain", helper_get_plain, helper_set_plain);
	object_class_property_set_description(
		class, "x-plain", "use the helper for a guest without encryption: for tests");
	object_class_property_set_description(
		class, "vendor-chain",
		"file with the ASK and ARK certificates of this host's chip");
}

static void helper_finalize(Object *obj)
{
	SevmirrorHelper *helper = SEVMIRROR_HELPER(obj);

	if (the_helper == helper) {
		qemu_remove_machine_init_done_notifier(&machine_done);
		the_helper = NULL;
	}
	sev_pagemap_destroy(helper->map);
	g_free(helper->blank);
	g_free(helper->vendor_chain_bytes);
	g_free(helper->vendor_chain);
}

static const TypeInfo helper_type = {
	.name = TYPE_SEVMIRROR_HELPER,
	.parent = TYPE_OBJECT,
	.instance_size = sizeof(SevmirrorHelper),
	.instance_finalize = helper_finalize,
	.class_init = helper_class_init,
	.interfaces = (InterfaceInfo[]){ { TYPE_USER_CREATABLE }, {} },
};

static void register_types(void)
{
	type_register_static(&helper_type);
}

type_init(register_types);

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What is told: counts, drops, and the steps of traces. */
#pragma once
#include <linux/pkt_cls.h>
#include "packet.h"

enum event_kind { DROPPED, LOGGED, MET };
enum verdict_told { CONTINUE, ACCEPT, DROP, PASSED };

static __always_inline void tell(void *ring, struct packet *p, __u32 reference, int kind, int verdict, __u32 place)
{
	struct event *e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e)
		return;
	e->source = p->source;
	e->destination = p->destination;
	e->time = bpf_ktime_get_ns();
	e->interface = p->interface;
	e->reference = reference;
	e->source_port = p->source_port;
	e->destination_port = p->destination_port;
	e->direction = p->direction;
	e->family = p->family;
	e->protocol = p->protocol;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->kind = kind;
	e->verdict = verdict;
	e->traces = p->traces;
	e->place = place;
	bpf_ringbuf_submit(e, 0);
}

static __always_inline void met(struct packet *p, __u32 reference, int verdict, __u32 place)
{
	if (p->traces)
		tell(&traces, p, reference, MET, verdict, place);
}

static __always_inline void add(struct count *count, __u32 bytes)
{
	if (!count)
		return;
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
}

__noinline int drop(struct packet *p, __u32 reference)
{
	if (!p)
		return TC_ACT_SHOT;
	if (reference < GUARDS) {
		__u32 slot = p->direction * GUARDS + reference;
		add(bpf_map_lookup_elem(&guards, &slot), p->length);
		met(p, reference, DROP, 0);
	}
	tell(&drops, p, reference, DROPPED, DROP, 0);
	return TC_ACT_SHOT;
}

__noinline __u32 traces_of(struct packet *p)
{
	if (!p)
		return 0;
	__u32 found = 0;
	for (__u32 i = 0; i < TRACES; i++) {
		__u32 slot = i;
		struct filter *f = bpf_map_lookup_elem(&filters, &slot);
		if (f && f->active && f->family == p->family && f->protocol == p->protocol &&
		    is_same(&f->source, &p->source) && is_same(&f->destination, &p->destination) &&
		    (!f->destination_port || f->destination_port == p->destination_port) &&
		    (!f->has_icmp || f->icmp_type == p->icmp_type))
			found |= 1 << i;
	}
	return found;
}

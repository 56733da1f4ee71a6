/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From a packet and a walk to what becomes of it, and the memory of long walks: what a packet with the same questions
   met in the same epoch, the next one meets without a walk, counts included. */
#pragma once
#include "rules.h"

static __always_inline void verdict_key(const struct packet *p, __u32 walk, struct verdict_key *key)
{
	key->source = p->source;
	key->destination = p->destination;
	key->walk = walk;
	key->port = is_icmp(p) ? p->icmp_type << 8 | p->icmp_code : p->destination_port;
	key->family = p->family;
	key->protocol = p->protocol;
}

static __always_inline void count_again(__u32 counted, __u32 bytes)
{
	__u32 at = counted - 1;
	if (counted)
		add(bpf_map_lookup_elem(&counts, &at), bytes);
}

/* Go through a walk. 0: allowed; UNDECIDED: it goes on; otherwise what to tell of the drop. */
__noinline __u32 follow(struct packet *p, __u32 start)
{
	if (!p)
		return UNKNOWN_INTERFACE;
	struct verdict_key key = {};
	verdict_key(p, start, &key);
	if (!p->traces) {
		struct verdict *known = bpf_map_lookup_elem(&verdicts, &key);
		if (known && known->epoch == p->epoch) {
			struct verdict same = *known;
			for (int i = 0; i < COUNTED; i++)
				count_again(same.counted[i], p->length);
			return same.reference;
		}
	}
	__u32 zero = p->zero; /* which the verifier does not know: it need not follow how it changes, step by step */
	struct run run = {
		.packet = p, .at = start, .next = start, .passed = start, .generation = generation_of(p),
		.counted = { zero, zero, zero }, .forgets = zero,
	};
	long steps = bpf_loop(MOST_STEPS, step, &run, 0);
	__u32 reference = run.verdict == ACCEPT ? 0 : run.reference ? run.reference : NO_PROFILE;
	struct settings *now = current_settings();
	if (now && steps >= now->long_walk && !run.forgets && !p->traces) {
		struct verdict found = { .epoch = p->epoch, .reference = reference };
		for (int i = 0; i < COUNTED; i++)
			found.counted[i] = run.counted[i];
		bpf_map_update_elem(&verdicts, &key, &found, BPF_ANY);
	}
	return reference;
}

/* The walk of a workload interface: 0 or what to tell of the drop. */
static __always_inline __u32 judge(struct packet *p)
{
	struct endpoint_key key = { .interface = p->interface, .direction = p->direction, .generation = generation_of(p) };
	__u32 *start = bpf_map_lookup_elem(&endpoints, &key);
	return start ? follow(p, *start) : UNKNOWN_INTERFACE;
}

/* A list of a host endpoint; without one, or where a failsafe port leaves it alone (HEP-9), nothing is decided. */
__noinline __u32 ask(struct packet *p, __u32 list, __u32 safe)
{
	if (!p || !list)
		return UNDECIDED;
	if (safe && !follow(p, safe - 1))
		return UNDECIDED;
	return follow(p, list - 1);
}

static __always_inline int denies(__u32 reference) { return reference && reference != UNDECIDED; }

static __always_inline struct lists *lists_of(const struct packet *p, __u16 direction)
{
	struct endpoint_key key = { .interface = p->interface, .direction = direction, .generation = generation_of(p) };
	return bpf_map_lookup_elem(&hosts, &key);
}

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Walks: policy as instructions in the map `code`, which one loop interprets. */
#pragma once
#include "telling.h"

#define MOST_STEPS (1 << 22)

struct run {
	struct packet *packet;
	__u32 at, next, passed, reference;
	__u32 counted[COUNTED]; /* places + 1 of the rules that counted, the last one first */
	__u32 forgets; /* whether there was more to tell than fits there, or it went by what `verdict_key` does not have */
	__u8 verdict, generation;
};

__noinline int is_member(__u32 set, __u32 port, const struct address *address, __u32 generation)
{
	if (!address)
		return 0;
	struct member_key key = { .set = set, .port = port, .address = *address };
	__u32 *generations = bpf_map_lookup_elem(&members, &key);
	return generations && *generations >> generation & 1;
}

/* Of two nets that hold an address, one may be of the other generation alone: then the next wider one is asked. */
__noinline int is_in_net(__u32 set, const struct address *address, __u32 generation)
{
	if (!address)
		return 0;
	__u64 *has_nets = bpf_map_lookup_elem(&wide, &set);
	if (!has_nets || !(*has_nets >> generation & 1))
		return 0;
	struct net_key key = { .length = 32 + 128, .set = set, .address = *address };
	for (int i = 0; i < 2; i++) {
		struct net *net = bpf_map_lookup_elem(&nets, &key);
		if (!net)
			return 0;
		if (net->generations >> generation & 1)
			return 1;
		key.length = net->length - 1;
	}
	return 0;
}

static __always_inline __u8 protocol_of(__u8 flags)
{
	__u8 which = flags >> OF_PROTOCOL;
	return which == 1 ? TCP : which == 2 ? UDP : SCTP;
}

static __always_inline int holds(struct run *run, __u8 operation, __u8 flags, __u32 argument)
{
	struct packet *p = run->packet;
	__u32 generation = run->generation;
	const struct address *address = flags & OF_DESTINATION ? &p->destination : &p->source;
	__u16 port = flags & OF_DESTINATION ? p->destination_port : p->source_port;
	__u32 set = argument * 2 + (p->family == 6);
	switch (operation) {
	case FAMILY:
		return p->family == argument;
	case PROTOCOL:
		return p->protocol == argument;
	case ICMP_TYPE:
		return is_icmp(p) && p->icmp_type == argument;
	case ICMP_TYPE_CODE:
		return is_icmp(p) && (p->icmp_type << 8 | p->icmp_code) == argument;
	case PORTS:
		if (flags >> OF_PROTOCOL ? p->protocol != protocol_of(flags) : !is_ported(p->protocol))
			return 0;
		run->forgets |= ~flags & OF_DESTINATION;
		return port >= argument >> 16 && port <= (argument & 0xffff);
	case ADDRESS:
		return is_member(set, 0, address, generation) || is_in_net(set, address, generation);
	default:
		run->forgets |= ~flags & OF_DESTINATION;
		return is_member(set, (__u32)p->protocol << 16 | port, address, generation);
	}
}

static __always_inline void count(struct run *run, __u32 at)
{
	add(bpf_map_lookup_elem(&counts, &at), run->packet->length);
	run->forgets |= run->counted[2]; /* without branches, each of which is a state more to verify */
	run->counted[2] = run->counted[1];
	run->counted[1] = run->counted[0];
	run->counted[0] = at + 1;
}

static long step(__u32 number, struct run *run)
{
	__u32 at = run->at;
	struct packet *p = run->packet;
	struct instruction *code_at = bpf_map_lookup_elem(&code, &at);
	if (!code_at) {
		run->verdict = DROP; /* fail closed: out of the map */
		return 1;
	}
	struct instruction i = *code_at;
	if (i.operation >= FAMILY && i.operation <= ADDRESS_AND_PORT) {
		int skips = holds(run, i.operation, i.flags, i.argument) == (i.flags & WHEN_TRUE);
		run->at = !skips ? at + 1 : i.flags & LEAVES ? run->next : at + i.skip;
		return 0;
	}
	if (i.operation == POLICY) {
		__u32 slot = i.argument * 2 + run->generation;
		__u64 *start = bpf_map_lookup_elem(&policies, &slot);
		if (!start) {
			run->verdict = DROP;
			return 1;
		}
		run->next = at + 1;
		run->passed = at + i.skip;
		run->at = *start;
		return 0;
	}
	if (i.operation == END) {
		run->at = run->next;
		return 0;
	}
	if (i.operation == GO_ON) {
		run->reference = UNDECIDED;
		run->verdict = DROP;
		return 1;
	}
	count(run, at);
	if (i.operation == LOG) {
		run->forgets |= 1;
		met(p, i.argument, CONTINUE, at);
		tell(&drops, p, i.argument, LOGGED, CONTINUE, at);
		run->at = at + 1;
		return 0;
	}
	if (i.operation == PASS) {
		met(p, i.argument, PASSED, at);
		run->at = run->passed;
		return 0;
	}
	run->reference = i.argument;
	run->verdict = i.operation == ALLOW ? ACCEPT : DROP;
	if (i.argument >= GUARDS)
		met(p, i.argument, run->verdict, at);
	return 1;
}

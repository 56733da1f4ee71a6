/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connections, by interface (CT-2): the source's permission does not open the destination. And fragments. */
#pragma once
#include <linux/if_ether.h>
#include "packet.h"

enum tracked { NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED };

/* Negative, 0 or positive, as the first is lower than, equal to, or higher than the second. */
static __always_inline int compared(const struct address *a, const struct address *b)
{
	for (int i = 0; i < 4; i++)
		if (a->word[i] != b->word[i])
			return a->word[i] < b->word[i] ? -1 : 1;
	return 0;
}

#define ICMP_REPLY 2 /* besides a request's type << 8 */

/* Both directions of a flow through an interface have one key. True when the packet comes from the lower end. */
__noinline int key_of(const struct packet *p, struct flow_key *key, __u16 first, __u16 second, __u16 icmp)
{
	if (!p || !key)
		return 0;
	int order = compared(&p->source, &p->destination);
	if (!order) /* of a machine to itself: by ports, and of ICMP a reply comes from the lower end */
		order = first != second ? (first < second ? -1 : 1) : icmp & ICMP_REPLY ? -1 : 1;
	int low = order < 0;
	key->low = low ? p->source : p->destination;
	key->high = low ? p->destination : p->source;
	key->low_port = low ? first : second;
	key->high_port = low ? second : first;
	key->interface = p->interface;
	key->protocol = p->protocol;
	key->family = p->family;
	key->icmp = !icmp ? 0 : icmp & ICMP_REPLY ? icmp ^ ICMP_REPLY ^ low : icmp ^ !low; /* who asks is part of it */
	return low;
}

enum icmp_kind { REQUEST, REPLY, ERROR, UNSOLICITED, STRAY };

/* What the kernel's own tracking makes of an ICMP type; requests and the replies to them have a number in common. */
static __always_inline int icmp_kind(const struct packet *p, __u16 *icmp)
{
	__u8 type = p->icmp_type;
	*icmp = type << 8;
	if (p->protocol == ICMP) {
		if (type == 8 || type == 13 || type == 15 || type == 17)
			return REQUEST;
		if (type == 0 || type == 14 || type == 16 || type == 18) {
			*icmp = (type ? type - 1 : 8) << 8 | ICMP_REPLY;
			return REPLY;
		}
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12 ? ERROR : STRAY;
	}
	if (type == 128 || type == 139)
		return REQUEST;
	if (type == 129 || type == 140) {
		*icmp = (type - 1) << 8 | ICMP_REPLY;
		return REPLY;
	}
	if (type < 128)
		return ERROR;
	return (type >= 130 && type <= 136) || type == 143 ? UNSOLICITED : STRAY;
}

static __always_inline int is_alive(const struct flow_key *key, const struct flow *flow, __u64 now)
{
	__u64 life = 600 * SECOND;
	if (key->protocol == TCP)
		life = (flow->closing == 3 ? 40 : flow->closing ? 60 : flow->replied ? 3600 : 20) * SECOND;
	else if (key->protocol == UDP)
		life = 60 * SECOND;
	else if (key->protocol == ICMP || key->protocol == ICMPV6)
		life = 5 * SECOND;
	return now - flow->seen < life;
}

/* CT-4: an ICMP error belongs to the flow of the packet it quotes. */
__noinline int track_error(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return INVALID;
	struct packet quoted = {};
	struct flow_key key = {};
	__u16 icmp = 0;
	if (parse(skb, p->transport + 8, &quoted, p->family, 1) || quoted.fragment == LATER)
		return INVALID;
	__u16 first = quoted.source_port, second = quoted.destination_port;
	if (is_icmp(&quoted)) {
		if (icmp_kind(&quoted, &icmp) > REPLY)
			return INVALID;
		first = second = quoted.echo;
	}
	quoted.interface = p->interface;
	key_of(&quoted, &key, first, second, icmp);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	return flow && is_alive(&key, flow, bpf_ktime_get_ns()) ? RELATED : INVALID;
}

/* CT-2: established means an answer was seen; before it, each packet of the opener is new and judged again. */
static __always_inline int track_known(struct flow *flow, const struct packet *p, int low, int opening, __u64 now)
{
	int forward = low == flow->from_low;
	if (p->protocol == TCP) {
		if (opening && flow->closing == 3)
			return NEW;
		if (p->tcp_flags & RST)
			flow->closing = 3;
		else if (p->tcp_flags & FIN)
			flow->closing |= forward ? 1 : 2;
	}
	if (now - flow->seen > SECOND / 4)
		flow->seen = now;
	if (!forward && !flow->replied)
		flow->replied = 1;
	return flow->replied ? ESTABLISHED : NEW;
}

static __always_inline int is_opening(const struct packet *p)
{
	return p->protocol != TCP || (p->tcp_flags & (SYN | ACK | RST | FIN)) == SYN;
}

static __always_inline void learn(struct __sk_buff *skb, struct flow *flow)
{
	flow->learned = !bpf_skb_load_bytes(skb, ETH_ALEN, flow->mac, ETH_ALEN);
}

__noinline int track_flow(struct __sk_buff *skb, struct packet *p, struct flow_key *key, int low)
{
	if (!p || !key)
		return INVALID;
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u64 now = bpf_ktime_get_ns();
	if (!flow || !is_alive(key, flow, now))
		return is_opening(p) ? NEW : INVALID;
	if (p->direction == EGRESS && !flow->learned)
		learn(skb, flow);
	return track_known(flow, p, low, is_opening(p), now);
}

static __always_inline int track(struct __sk_buff *skb, struct packet *p, struct flow_key *key, int *low)
{
	__u16 first = p->source_port, second = p->destination_port;
	__u16 icmp = 0;
	int kind = REQUEST;
	if (is_icmp(p)) {
		kind = icmp_kind(p, &icmp);
		if (kind == ERROR)
			return track_error(skb, p);
		if (kind == UNSOLICITED)
			return UNTRACKED;
		if (kind == STRAY)
			return INVALID;
		first = second = p->echo;
	}
	*low = key_of(p, key, first, second, icmp);
	int state = track_flow(skb, p, key, *low);
	return state == NEW && kind == REPLY ? INVALID : state;
}

static __always_inline void remember(struct __sk_buff *skb, struct packet *p, struct flow_key *key, int low)
{
	struct flow flow = { .seen = bpf_ktime_get_ns(), .from_low = low };
	if (p->direction == EGRESS)
		learn(skb, &flow);
	bpf_map_update_elem(&flows, key, &flow, BPF_ANY);
}

static __always_inline void fragment_key(const struct packet *p, struct fragment_key *key)
{
	key->source = p->source;
	key->destination = p->destination;
	key->interface = p->interface;
	key->identification = p->identification;
	key->direction = p->direction;
	key->protocol = p->protocol;
}

/* Later fragments have no ports: they share the fate of their first one. */
__noinline int later_fragment_is_allowed(struct packet *p)
{
	if (!p)
		return 0;
	struct fragment_key key = {};
	fragment_key(p, &key);
	__u64 *seen = bpf_map_lookup_elem(&fragments, &key);
	return seen && bpf_ktime_get_ns() - *seen < 30 * SECOND;
}

__noinline int allow_later_fragments(struct packet *p)
{
	if (!p)
		return 0;
	struct fragment_key key = {};
	__u64 now = bpf_ktime_get_ns();
	fragment_key(p, &key);
	return bpf_map_update_elem(&fragments, &key, &now, BPF_ANY);
}

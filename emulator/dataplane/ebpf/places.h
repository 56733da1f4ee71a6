/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who a packet comes from and goes to: own addresses, the host, neighbours; and sources before translation. */
#pragma once
#include "packet.h"

/* CT-5: from its own addresses only. Link-local ones never leave the link. */
__noinline int is_own_source(struct packet *p)
{
	if (!p)
		return 0;
	struct source_key key = { .interface = p->interface, .family = p->family, .address = p->source };
	__u32 *generations = bpf_map_lookup_elem(&sources, &key);
	if (generations && *generations >> generation_of(p) & 1)
		return 1;
	if (p->family != 6)
		return 0;
	if ((p->source.word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return 1;
	int unspecified = !(p->source.word[0] | p->source.word[1] | p->source.word[2] | p->source.word[3]);
	return unspecified && p->protocol == ICMPV6 && p->icmp_type == 135;
}

__noinline int is_known_interface(struct packet *p)
{
	if (!p)
		return 0;
	struct endpoint_key key = { .interface = p->interface, .direction = p->direction, .generation = generation_of(p) };
	return bpf_map_lookup_elem(&endpoints, &key) != 0;
}

/* Whether the host would take a packet for its own. Should it have an address we do not know of, MARK_FORWARD speaks. */
__noinline int is_to_host(const struct packet *p)
{
	if (!p)
		return 1;
	__u32 first = bpf_ntohl(p->destination.word[0]);
	if (p->family == 4 ? first >> 28 >= 14 : first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6)
		return 1; /* multicast, broadcast, link-local: nothing that is forwarded */
	struct local_key key = { .family = p->family, .address = p->destination };
	return bpf_map_lookup_elem(&locals, &key) != 0;
}

static __always_inline int is_neighbour_discovery(const struct packet *p)
{
	__u8 type = p->icmp_type; /* HEP-12 */
	return p->protocol == ICMPV6 && ((type >= 130 && type <= 133) || type == 135 || type == 136);
}

/* Policy behind the translation of addresses sees the source before it (NAT-4): its place goes along in the mark. */
__noinline __u32 keep_origin(const struct packet *p)
{
	__u32 zero = 0, place;
	__u32 *last = bpf_map_lookup_elem(&last_origin, &zero);
	if (!p || !last)
		return 0;
	place = __sync_fetch_and_add(last, 1) & (ORIGINS - 1);
	struct origin *origin = bpf_map_lookup_elem(&origins, &place);
	if (origin) {
		origin->source = p->source;
		origin->port = p->source_port;
	}
	return place;
}

__noinline int give_origin(struct packet *p, __u32 place)
{
	struct origin *origin = bpf_map_lookup_elem(&origins, &place);
	if (!p || !origin)
		return 0;
	p->source = origin->source;
	p->source_port = origin->port;
	return 1;
}

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From one pod of this machine to another past the host's stack, as far as nothing there is needed: fragments, packets
 * with options, traced ones, those that may live no longer, those that are too large for where they go, errors, and what
 * is or may be translated go through it. */
#pragma once
#include "tracking.h"

/* Where a packet may be handed over to: the interface of a pod, UNTRANSLATED beside it; 0: nowhere. */
static __always_inline __u32 hand_over_to(const struct __sk_buff *skb, const struct packet *p)
{
	__u32 behind_header = ETH_HLEN + (p->family == 4 ? 20 : 40);
	if (p->traces || p->fragment != WHOLE || p->transport != behind_header || p->hop_limit <= 1 || skb->pkt_type)
		return 0;
	struct local_key to = { .family = p->family, .address = p->destination };
	struct pod *pod = bpf_map_lookup_elem(&pods, &to);
	__u32 place = pod ? pod->interface[generation_of(p)] : 0;
	return (place & ~UNTRANSLATED) == p->interface ? 0 : place;
}

/* Whether the host would send the packet out as it is: one that is too large it would cut into fragments, or refuse with
   an ICMP error. Of a large segment, what it will be cut into counts. */
static __always_inline int fits(struct __sk_buff *skb, __u32 interface)
{
	__u32 mtu = 0;
	return !bpf_check_mtu(skb, interface, &mtu, 0, BPF_MTU_CHK_SEGS);
}

static __always_inline void lower_hop_limit(struct __sk_buff *skb, const struct packet *p)
{
	__u8 hop_limit = p->hop_limit - 1;
	if (p->family == 4) {
		__u32 sum = p->checksum + bpf_htons(0x100); /* one less in its high byte */
		struct { __u8 hop_limit, protocol; __u16 checksum; } rest = { hop_limit, p->protocol, sum + (sum >= 0xffff) };
		bpf_skb_store_bytes(skb, ETH_HLEN + 8, &rest, sizeof(rest), 0);
	} else {
		bpf_skb_store_bytes(skb, ETH_HLEN + 7, &hop_limit, sizeof(hop_limit), 0);
	}
}

/* A packet of a flow that both interfaces know as answered, straight into the pod. What TC does with it, or 0: it goes
   through the host. That the other interface knows the flow by the same addresses says that none was translated. */
__noinline int hand_over_known(struct __sk_buff *skb, struct packet *p, struct flow_key *key, int low)
{
	if (!p || !key)
		return 0;
	__u32 interface = hand_over_to(skb, p) & ~UNTRANSLATED;
	if (!interface || !fits(skb, interface))
		return 0;
	key->interface = interface;
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u64 now = bpf_ktime_get_ns();
	if (!flow || !flow->learned || !is_alive(key, flow, now))
		return 0;
	if (track_known(flow, p, low, is_opening(p), now) != ESTABLISHED)
		return 0;
	__u8 macs[2 * ETH_ALEN];
	__builtin_memcpy(macs, flow->mac, ETH_ALEN);
	if (bpf_skb_load_bytes(skb, 0, macs + ETH_ALEN, ETH_ALEN) || bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return 0;
	lower_hop_limit(skb, p);
	skb->mark &= ~MARKS;
	return bpf_redirect_peer(interface, 0);
}

/* A packet that opens a flow, to the interface of its pod, where it is judged as any other. */
__noinline int hand_over_new(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return 0;
	__u32 place = hand_over_to(skb, p);
	if (!(place & UNTRANSLATED) || !fits(skb, place & ~UNTRANSLATED))
		return 0;
	lower_hop_limit(skb, p);
	return bpf_redirect_neigh(place & ~UNTRANSLATED, 0, 0, 0);
}

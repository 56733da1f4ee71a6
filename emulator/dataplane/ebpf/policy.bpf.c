// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Network policy on the host side of workload interfaces, as TC classifiers. The policy is data: `code` holds walks and
 * policies as small instructions that one loop interprets, `members` and `nets` hold the sets. The programs are
 * verified once, when they are loaded, and never change.
 *
 * Two generations of everything that decides exist side by side; the low bit of `settings.epoch` says which one counts.
 * An update prepares the other and then moves that one word, so no packet ever meets half an update. A packet carries
 * the generation that judged it at its source in its mark, so that its destination judges it by the same one.
 *
 * Host endpoints (HEP-3) are lists of a machine's own interfaces, and with `*` of all: early ones before it is known
 * where a packet goes, then one for local processes or one for what is forwarded.
 *
 * Functions that are not static are verified by themselves, once, whatever they are called with: hence their null checks.
 */
#include <linux/if_ether.h>
#include "maps.h"
#include "packet.h"
#include "telling.h"
#include "tracking.h"
#include "handover.h"
#include "places.h"
#include "rules.h"
#include "walks.h"

#define JUDGE -2 /* not decided yet; everything else is what TC does with the packet */

/* A packet at a hook, and its flow there. */
struct passage {
	struct packet packet;
	struct flow_key key;
	int low, state;
};

/* A packet that is seen first is judged by what decides now, and so it is everywhere behind. */
static __always_inline void meet_first(struct __sk_buff *skb, const struct settings *now, struct packet *p)
{
	p->interface = skb->ifindex;
	p->epoch = now->epoch;
	skb->mark = (skb->mark & ~MARKS) | MARK_SEEN | (generation_of(p) ? MARK_GENERATION : 0);
}

/* A packet is judged by the generation that judged it before: that is the last epoch with its low bit. */
static __always_inline void meet_again(struct __sk_buff *skb, const struct settings *now, struct packet *p, int own)
{
	__u32 generation = !!(skb->mark & MARK_GENERATION);
	p->interface = skb->ifindex;
	p->epoch = now->epoch;
	if (skb->mark & MARK_SEEN && !own)
		p->epoch -= generation != (now->epoch & 1);
}

static __always_inline int is_ip(const struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

/* Read the packet; negative when there is none to judge. */
static __always_inline int take(struct __sk_buff *skb, const struct settings *now, struct packet *p, int direction, __u32 at)
{
	p->direction = direction;
	p->length = skb->len - at;
	int family = skb->protocol == bpf_htons(ETH_P_IP) ? 4 : 6;
	if (!is_ip(skb) || parse(skb, at, p, family, 0)) {
		__u32 slot = direction * GUARDS + (is_ip(skb) ? MALFORMED : NOT_IP);
		add(bpf_map_lookup_elem(&guards, &slot), p->length);
		return -1;
	}
	if (now->tracing)
		p->traces = traces_of(p);
	return 0;
}

static __always_inline int let_through(struct packet *p)
{
	if (p->fragment == FIRST)
		allow_later_fragments(p);
	return TC_ACT_UNSPEC; /* as far as we are concerned; others' filters still have their say */
}

static __always_inline int share_fate(struct packet *p)
{
	return later_fragment_is_allowed(p) ? TC_ACT_UNSPEC : drop(p, INVALID_);
}

/* At a machine's own interface: what no list guards passes, and so does neighbour discovery. */
static __always_inline int take_guarded(struct __sk_buff *skb, const struct settings *now, struct packet *p, int direction,
					const struct lists *lists)
{
	if (!lists || !is_ip(skb))
		return TC_ACT_UNSPEC;
	if (take(skb, now, p, direction, lists->has_no_link_header ? 0 : ETH_HLEN))
		return TC_ACT_SHOT;
	if (is_neighbour_discovery(p))
		return TC_ACT_UNSPEC;
	return p->fragment == LATER ? share_fate(p) : JUDGE;
}

/* What belongs to a flow that was answered passes; anything else is to be judged. */
static __always_inline int let_known_through(struct __sk_buff *skb, struct passage *x)
{
	x->state = track(skb, &x->packet, &x->key, &x->low);
	if (x->state != ESTABLISHED && x->state != RELATED)
		return JUDGE;
	met(&x->packet, NONE, ACCEPT, 0);
	return let_through(&x->packet);
}

static __always_inline int let_new_through(struct __sk_buff *skb, struct passage *x)
{
	if (x->state == NEW)
		remember(skb, &x->packet, &x->key, x->low);
	return let_through(&x->packet);
}

/* Policy sees the source before translation; the flow has the one behind it. */
struct source { struct address address; __u16 port; };

static __always_inline struct source translate_back(const struct __sk_buff *skb, struct packet *p)
{
	struct source seen = { p->source, p->source_port };
	if (skb->mark & MARK_ORIGIN)
		give_origin(p, skb->mark & (ORIGINS - 1));
	return seen;
}

static __always_inline void translate(struct packet *p, struct source seen)
{
	p->source = seen.address;
	p->source_port = seen.port;
}

/* CT-6: no workload sends packets in packets past policy. */
static __always_inline int is_refused_encapsulation(const struct settings *now, const struct packet *p)
{
	__u32 refused = generation_of(p) ? now->encapsulation[1] : now->encapsulation[0];
	if (p->protocol == UDP)
		return p->destination_port && p->destination_port == (refused & 0xffff);
	return p->protocol == IPIP && refused & IPIP_REFUSED;
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	struct settings *now = current_settings();
	struct passage x = {};
	struct packet *p = &x.packet;
	if (!now)
		return TC_ACT_SHOT;
	meet_first(skb, now, p);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TC_ACT_UNSPEC;
	if (take(skb, now, p, EGRESS, ETH_HLEN))
		return TC_ACT_SHOT;
	int is_discovery = is_neighbour_discovery(p) && is_to_host(p);
	if (!is_own_source(p)) {
		if (is_known_interface(p))
			return drop(p, SPOOFED_);
		return is_discovery ? TC_ACT_UNSPEC : drop(p, UNKNOWN_INTERFACE);
	}
	if (p->fragment == LATER)
		return share_fate(p);
	if (is_discovery)
		return TC_ACT_UNSPEC;
	int decided = let_known_through(skb, &x);
	if (x.state == ESTABLISHED) {
		int handed_over = hand_over_known(skb, p, &x.key, x.low);
		return handed_over ? handed_over : decided;
	}
	if (decided != JUDGE)
		return decided;
	if (x.state == INVALID)
		return drop(p, INVALID_);
	int to_host = is_to_host(p);
	struct lists *lists = lists_of(p, INGRESS); /* HEP-11 */
	if (lists) {
		__u32 said = ask(p, lists->early, lists->safe_early);
		if (said && !denies(said) && !to_host)
			said = ask(p, lists->forward, 0);
		if (denies(said))
			return drop(p, said);
	}
	if (is_refused_encapsulation(now, p))
		return drop(p, ENCAPSULATED);
	__u32 reference = judge(p);
	if (reference)
		return drop(p, reference);
	if (!(now->to_host >> generation_of(p) & 1)) { /* HEP-12 */
		if (to_host)
			return drop(p, TO_HOST);
		skb->mark |= MARK_FORWARD;
	}
	if (now->origins >> generation_of(p) & 1)
		skb->mark |= MARK_ORIGIN | keep_origin(p);
	int passed = let_new_through(skb, &x);
	int handed_over = x.state == NEW ? hand_over_new(skb, p) : 0;
	return handed_over ? handed_over : passed;
}

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	struct settings *now = current_settings();
	struct passage x = {};
	struct packet *p = &x.packet;
	int from_host = skb->ingress_ifindex == 0; /* CT-1 */
	if (!now)
		return TC_ACT_SHOT;
	meet_again(skb, now, p, 0);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TC_ACT_UNSPEC;
	if (take(skb, now, p, INGRESS, ETH_HLEN))
		return TC_ACT_SHOT;
	if (p->fragment == LATER)
		return from_host ? TC_ACT_UNSPEC : share_fate(p);
	int decided = let_known_through(skb, &x);
	if (decided != JUDGE)
		return decided;
	if (from_host)
		return let_new_through(skb, &x);
	if (x.state == INVALID)
		return drop(p, INVALID_);
	struct source seen = translate_back(skb, p);
	__u32 reference = judge(p);
	if (reference)
		return drop(p, reference);
	struct lists *lists = lists_of(p, EGRESS); /* HEP-11 */
	if (lists && denies(reference = ask(p, lists->forward, 0)))
		return drop(p, reference);
	translate(p, seen);
	return let_new_through(skb, &x);
}

/* What a machine's own interface receives (HEP-6): untracked, early, then for itself or to be forwarded. */
SEC("tc")
int from_host_interface(struct __sk_buff *skb)
{
	struct settings *now = current_settings();
	struct passage x = {};
	struct packet *p = &x.packet;
	if (!now)
		return TC_ACT_SHOT;
	meet_first(skb, now, p);
	struct lists *lists = lists_of(p, INGRESS);
	int decided = take_guarded(skb, now, p, INGRESS, lists);
	if (decided != JUDGE || !lists)
		return decided;
	__u32 said = ask(p, lists->untracked, lists->safe_untracked);
	if (denies(said))
		return drop(p, said);
	if (!said) { /* HEP-4 */
		skb->mark |= MARK_UNTRACKED;
		return let_through(p);
	}
	decided = let_known_through(skb, &x);
	if (decided != JUDGE)
		return decided;
	int to_host = is_to_host(p);
	if (x.state == INVALID && (lists->early || (to_host ? lists->normal : lists->forward)))
		return drop(p, INVALID_);
	said = ask(p, lists->early, lists->safe_early);
	if (said == UNDECIDED) /* HEP-5: what an early list allows is not asked again */
		said = to_host ? ask(p, lists->normal, lists->safe_normal) : ask(p, lists->forward, 0);
	return denies(said) ? drop(p, said) : let_new_through(skb, &x);
}

/* What leaves by a machine's own interface: from its processes, or forwarded. */
SEC("tc")
int to_host_interface(struct __sk_buff *skb)
{
	struct settings *now = current_settings();
	struct passage x = {};
	struct packet *p = &x.packet;
	int own = skb->ingress_ifindex == 0;
	if (!now)
		return TC_ACT_SHOT;
	meet_again(skb, now, p, own);
	struct lists *lists = lists_of(p, EGRESS);
	int decided = take_guarded(skb, now, p, EGRESS, lists);
	if (decided != JUDGE || !lists)
		return decided;
	__u32 said = own ? ask(p, lists->untracked, lists->safe_untracked) : UNDECIDED;
	if (said != UNDECIDED)
		return said ? drop(p, said) : let_through(p);
	decided = let_known_through(skb, &x);
	if (decided != JUDGE)
		return decided;
	if (x.state == INVALID && (own ? lists->normal : lists->forward))
		return drop(p, INVALID_);
	if (own) {
		said = ask(p, lists->normal, lists->safe_normal);
		return denies(said) ? drop(p, said) : let_new_through(skb, &x);
	}
	struct source seen = translate_back(skb, p);
	if (denies(said = ask(p, lists->forward, 0)))
		return drop(p, said);
	translate(p, seen);
	return let_new_through(skb, &x);
}

char _license[] SEC("license") = "GPL";

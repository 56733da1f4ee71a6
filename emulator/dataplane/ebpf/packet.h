/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a packet says: IPv4 and IPv6 headers, fragments, and the first bytes behind them. */
#pragma once
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define ICMP 1
#define IPIP 4
#define TCP 6
#define UDP 17
#define ICMPV6 58
#define SCTP 132
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

enum fragment { WHOLE, FIRST, LATER };

/* And what is known of it besides: `epoch` is the one that judges it. */
struct packet {
	struct address source, destination;
	__u32 interface, length, transport, identification, traces, epoch;
	__u16 source_port, destination_port, echo, direction;
	__u8 family, protocol, icmp_type, icmp_code, tcp_flags, fragment, hop_limit, zero;
	__u16 checksum; /* of the IPv4 header, as on the wire */
};

static __always_inline int generation_of(const struct packet *p) { return p->epoch & 1; }

static __always_inline int is_ported(__u8 protocol) { return protocol == TCP || protocol == UDP || protocol == SCTP; }

static __always_inline int is_icmp(const struct packet *p) { return p->protocol == ICMP || p->protocol == ICMPV6; }

__noinline int parse_transport(struct __sk_buff *skb, struct packet *p, int quoted)
{
	if (!p)
		return -1;
	if (p->fragment == LATER)
		return 0;
	if (is_ported(p->protocol)) {
		__be16 ports[2];
		if (bpf_skb_load_bytes(skb, p->transport, ports, sizeof(ports)))
			return -1;
		p->source_port = bpf_ntohs(ports[0]);
		p->destination_port = bpf_ntohs(ports[1]);
		if (p->protocol == TCP && !quoted && bpf_skb_load_bytes(skb, p->transport + 13, &p->tcp_flags, 1))
			return -1;
	} else if (p->protocol == ICMP || p->protocol == ICMPV6) {
		__u8 head[8];
		if (bpf_skb_load_bytes(skb, p->transport, head, sizeof(head)))
			return -1;
		p->icmp_type = head[0];
		p->icmp_code = head[1];
		p->echo = head[4] << 8 | head[5];
	}
	return 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	__u8 head[20];
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || head[0] >> 4 != 4 || (head[0] & 15) < 5)
		return -1;
	__u16 fragment = (head[6] << 8 | head[7]) & 0x3fff;
	p->family = 4;
	p->hop_limit = head[8];
	__builtin_memcpy(&p->checksum, head + 10, 2);
	p->protocol = head[9];
	__builtin_memcpy(&p->source.word[0], head + 12, 4);
	__builtin_memcpy(&p->destination.word[0], head + 16, 4);
	p->transport = at + (head[0] & 15) * 4;
	p->identification = head[4] << 8 | head[5];
	p->fragment = fragment & 0x1fff ? LATER : fragment ? FIRST : WHOLE;
	return 0;
}

__noinline int parse_ipv6(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	if (!p)
		return -1;
	__u8 head[8];
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || head[0] >> 4 != 6 ||
	    bpf_skb_load_bytes(skb, at + 8, &p->source, 16) || bpf_skb_load_bytes(skb, at + 24, &p->destination, 16))
		return -1;
	__u8 next = head[6];
	p->hop_limit = head[7];
	at += 40;
	for (int i = 0; i < 8; i++) { /* hop-by-hop, routing, fragment, destination options */
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, at, head, sizeof(head)))
			return -1;
		if (next == 44) {
			__u16 offset = head[2] << 8 | head[3];
			__builtin_memcpy(&p->identification, head + 4, 4);
			p->fragment = offset >> 3 ? LATER : offset & 1 ? FIRST : WHOLE;
		}
		at += next == 44 ? 8 : (head[1] + 1) * 8;
		next = head[0];
		if (p->fragment == LATER)
			break;
	}
	p->family = 6;
	p->protocol = next;
	p->transport = at;
	return 0;
}

static __always_inline int parse(struct __sk_buff *skb, __u32 at, struct packet *p, int family, int quoted)
{
	if (family == 4 ? parse_ipv4(skb, at, p) : parse_ipv6(skb, at, p))
		return -1;
	return parse_transport(skb, p, quoted);
}

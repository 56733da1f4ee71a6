"""The iptables dataplane: chains by iptables-restore and sets by ipset, in both families, legacy and nft variants."""

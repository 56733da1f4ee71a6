"""The nftables dataplane: a node program as one `inet` table, changed by transactions over netlink."""

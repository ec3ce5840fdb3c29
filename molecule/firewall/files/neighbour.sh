#!/bin/sh
# A neighbour of this host in a network namespace: its addresses say whom it comes as.
set -eu
ip netns list | grep -qw neighbour && exit 0
ip netns add neighbour
# the engine turns IPv6 off where a set has none
sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=0
ip netns exec neighbour sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=0
ip link add toward type veth peer name eth0 netns neighbour
ip address add 192.0.2.1/24 dev toward
ip address add fd17::1/64 dev toward nodad
ip link set toward up
for last in 2 3; do
    ip -n neighbour address add 192.0.2.$last/24 dev eth0
    ip -n neighbour address add fd17::$last/64 dev eth0 nodad
done
ip -n neighbour link set lo up
ip -n neighbour link set eth0 up

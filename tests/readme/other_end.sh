#!/bin/sh
# The machine that the example of the role tunnel leads to, as an address of this one: a server with a certificate of a CA
# that this machine trusts. certificates.sh and postgresql.py lie in /root.
set -eu
address=10.20.0.12
ip address replace $address/32 dev lo
sh /root/certificates.sh /etc/role-test $address
cp /etc/role-test/ca.pem /usr/local/share/ca-certificates/role-test.crt
update-ca-certificates >/dev/null
systemctl is-active --quiet other-end ||
    systemd-run --quiet --unit other-end python3 /root/postgresql.py $address /etc/role-test/server.pem /etc/role-test/server.key

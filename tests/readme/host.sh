#!/bin/sh
# What a machine of its own has and a container lacks: a clock that chrony may leave alone, and a pool of Debian's that answers.
set -eu
mkdir -p /etc/systemd/system/chrony.service.d
# shellcheck disable=SC2016 # it is systemd that reads the variable
printf '[Unit]\nConditionCapability=\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd $DAEMON_OPTS -x\n' \
    > /etc/systemd/system/chrony.service.d/zz-container.conf
echo 127.0.0.1 2.debian.pool.ntp.org >> /etc/hosts
systemctl is-active --quiet ntp-answers || systemd-run --quiet --unit ntp-answers python3 /root/ntp.py 127.0.0.1 123

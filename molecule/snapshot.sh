#!/bin/sh
# Prints what an installation could leave on a host, one line each. Left out: what changes by itself (logs, caches, identities) and
# the traces of the package manager having run.
export LC_ALL=C
find /etc /usr/local /opt /var /usr/lib/systemd /usr/libexec /root /home -xdev \
  \( -path /var/log -o -path /var/cache -o -path /var/tmp -o -path /var/lib/systemd -o -path /var/lib/dpkg -o -path /var/lib/apt \
     -o -path /var/lib/ucf -o -path /var/lib/private -o -path '*/.ansible' -o -path '*/.ssh' -o -path /etc/ssl/certs -o -path '/etc/*-' \) -prune \
  -o -printf 'path %y %p\n'
find /etc /usr/local -xdev -type f ! -path '/etc/*-' ! -path '/etc/ssl/certs/*' ! -name .updated -exec sha256sum {} +
dpkg-query --show --showformat 'package ${Package} ${Version} ${db:Status-Abbrev}\n'
systemctl list-unit-files --no-legend --no-pager --type=service,timer,socket,mount,path,slice,swap,target |
  awk '{print "unit file", $1, $2}'
systemctl list-units --all --no-legend --no-pager --plain --type=service,timer,socket,mount,path,slice |
  awk '$1 !~ /^(session|user|run-|systemd-|ssh@|apt-|dpkg-|system-getty|phpsession)/ {print "unit", $1, $3}'
ip -oneline link |
  awk '{sub(/@.*/, "", $2); print "interface", $2}'
ip route | sed 's/^/route /'
awk '{print "mount", $5}' /proc/self/mountinfo | grep -v '/run/\(credentials\|user\)'
find /sys/fs/cgroup -maxdepth 2 -name 'kube*' -printf 'control group %f\n'
ps -eo comm= | grep -E '^(containerd|kube|etcd|coredns|flanneld|llmprov|pause)' | sed 's/^/process /'
exit 0

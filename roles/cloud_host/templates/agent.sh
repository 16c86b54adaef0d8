#!/bin/sh
# Session Manager's agent, from where AWS has it fetched: Debian has no package of it.
set -eu
if [ ! -x /usr/bin/amazon-ssm-agent ]; then
  command -v curl > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends curl; }
  package=$(mktemp --suffix=.deb)
  curl --fail --silent --show-error --retry 10 --retry-all-errors --output "$package" \
    https://s3.{{ cloud_host_region }}.amazonaws.com/amazon-ssm-{{ cloud_host_region }}/latest/debian_amd64/amazon-ssm-agent.deb
  # Not apt: it would make lists of packages that are empty look fresh. The lock may be held, by security updates
  for _ in $(seq 60); do
    dpkg --install "$package" && break
    sleep 5
  done
  rm "$package"
fi
systemctl enable amazon-ssm-agent.service
# It may have given up asking, while its role had not the right
systemctl restart amazon-ssm-agent.service

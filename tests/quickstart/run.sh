#!/usr/bin/env bash
# Follows deploy/quickstart.md to the letter: runs its shell blocks on a machine for the operator and three hosts, each with a
# root, a network and a firewall of its own, and passes when the message from Frankfurt comes out in Singapore.
#
#   tests/quickstart/run.sh [BINARY]      BINARY: target/debug/farwire
#
# Needs root, sshd, nft, ip and curl; no part of `cargo test`. Everything happens in namespaces that end with this script, so nothing is
# left behind, whatever happens. Does not build, and leaves out ufw.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/debug/farwire}")
if [ -z "${INSIDE:-}" ]; then
  exec env INSIDE=1 unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$binary"
fi
page=$PWD/deploy/quickstart.md
roots=/mnt
mount -t tmpfs tmpfs $roots
mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns

root() { # NAME: the files of a machine, this one's with its own changes over them
  mkdir -p "$roots/$1"/{new,work,all}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$roots/$1/new,workdir=$roots/$1/work" "$roots/$1/all"
  for shared in proc dev; do mount --rbind "/$shared" "$roots/$1/all/$shared"; done
  for fresh in run tmp root; do mount -t tmpfs -o mode=755 tmpfs "$roots/$1/all/$fresh"; done
  mkdir -p "$roots/$1/all/run/sshd"
  mkdir -m 700 "$roots/$1/all/root/.ssh"
}
machine() { # NAME ADDRESS: a host one hop away, with sshd
  root "$1" && ip netns add "$1"
  ip link add "to-$1" type veth peer name eth0 netns "$1"
  ip addr add 169.254.1.1/32 dev "to-$1" && ip link set "to-$1" up && ip route add "$2" dev "to-$1"
  ip -n "$1" link set lo up && ip -n "$1" addr add "$2/32" dev eth0 && ip -n "$1" link set eth0 up
  ip -n "$1" route add 169.254.1.1 dev eth0 && ip -n "$1" route add default via 169.254.1.1
  cp "$roots/operator/all/root/.ssh/key.pub" "$roots/$1/all/root/.ssh/authorized_keys"
  ip netns exec "$1" chroot "$roots/$1/all" /usr/sbin/sshd
}
operator() { # COMMANDS: run by the operator, in the folder of the mesh
  env -i HOME=/root PATH="$PATH" chroot "$roots/operator/all" bash -euc "mkdir -pm 700 ~/mesh; cd ~/mesh; $1"
}
block() { # TEXT: the page's shell block with this text in it
  awk -v text="$1" '/^```sh$/ { on = 1; block = ""; next } /^```$/ { if (on && index(block, text)) printf "%s", block; on = 0 }
    on { block = block $0 "\n" }' "$page"
}
await() { # SECONDS COMMAND…
  local left=$(($1 * 5)) && shift
  until "$@"; do ((left-- > 0)) || { echo "never true: $*" >&2 && return 1; } && sleep 0.2; done
}
linked() { [ "$(cat "$roots"/*.log | grep -c 'link up')" -ge 6 ]; }

ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward
root operator
ssh-keygen -qt ed25519 -N '' -f $roots/operator/all/root/.ssh/key
printf 'IdentityFile ~/.ssh/key\nStrictHostKeyChecking no\nLogLevel ERROR\n' > $roots/operator/all/root/.ssh/config
machine fra 192.0.2.10 && machine iad 198.51.100.20 && machine sin 203.0.113.30
install "$binary" $roots/operator/all/usr/local/bin/farwire

operator "$(block 'certs init' | grep -v -e '^cargo ' -e '^sudo install ' -e '^mkdir ')"
block 'host() {' > $roots/operator/all/root/mesh/nodes.sh
operator "$(block '. ./nodes.sh')"
operator "$(block 'farwire.nft <<')"
count=0
while read -r start; do
  # Counted out here: what is in a background command is expanded in a shell of its own.
  count=$((count + 1))
  operator "$start" < /dev/null > "$roots/$count.log" 2>&1 &
done < <(block 'ssh -t')
await 30 linked || { cat $roots/*.log >&2 && exit 1; }
operator "$(block 'farwire mesh ')"
operator "$(block 'token mint'); wait" | tee $roots/heard
grep -qx 'live.hello Hello from Frankfurt' $roots/heard
echo "passed: the quickstart is true"

"""Network namespaces on one machine, each with an address of its own on a bridge in a further namespace, the hub. The machine's own network is not
touched. A guard process removes the namespaces, what runs in them, and the data folder when the script ends, however it ends."""
import os, subprocess, tempfile

SUBNET = "10.211.0"  # seen inside the namespaces only

GUARD = """
cat >/dev/null
for try in 1 2 3 4 5; do
    left=
    for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
        for pid in $(ip netns pids "$ns"); do kill -9 "$pid" 2>/dev/null; left=1; done
    done
    [ -n "$left" ] || break
    sleep 0.2
done
for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do ip netns del "$ns"; done
rm -rf "$2"
"""


class Namespaces:
    def __init__(self):
        if os.geteuid() != 0:
            raise SystemExit("namespaces can only be made as root")
        self.prefix = f"storage{os.getpid()}"
        self.folder = tempfile.mkdtemp(prefix="storage-failover-")
        # In a session of its own, so that what interrupts the script does not end it; it sees the script's end at its standard input.
        self.guard = subprocess.Popen(["bash", "-c", GUARD, "guard", self.prefix, self.folder], stdin=subprocess.PIPE, start_new_session=True)
        self.members = {}
        self.hub = f"{self.prefix}-hub"
        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "set", "lo", "up")
        ip("-n", self.hub, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", self.hub, "addr", "add", f"{SUBNET}.1/24", "dev", "br0")
        ip("-n", self.hub, "link", "set", "br0", "up")

    def add(self, name):
        """A namespace for a daemon; returns its address."""
        space, port = f"{self.prefix}-{name}", f"p{len(self.members)}"
        address = f"{SUBNET}.{10 + len(self.members)}"
        self.members[name] = (space, port, address)
        ip("netns", "add", space)
        ip("-n", self.hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("-n", self.hub, "link", "set", port, "master", "br0", "up")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        return address

    def command(self, name, words):
        """What runs a command in a daemon's namespace, or in the hub."""
        return ["ip", "netns", "exec", self.hub if name is None else self.members[name][0], *words]

    def cut(self, name):
        """Nothing gets to it or from it."""
        ip("-n", self.hub, "link", "set", self.members[name][1], "down")

    def mute(self, name):
        """What it sends goes to nobody; it hears all others. Its frames bear an address that no card has."""
        space = self.members[name][0]
        for other in [f"{SUBNET}.1"] + [address for _, _, address in self.members.values()]:
            if other != self.members[name][2]:
                ip("-n", space, "neigh", "replace", other, "lladdr", "02:00:00:00:00:fe", "dev", "eth0", "nud", "permanent")

    def deafen(self, name):
        """What is sent to it gets lost; all others hear it."""
        address = self.members[name][2]
        ip("-n", self.hub, "neigh", "replace", address, "lladdr", "02:00:00:00:00:fe", "dev", "br0", "nud", "permanent")
        for other, (space, _, _) in self.members.items():
            if other != name:
                ip("-n", space, "neigh", "replace", address, "lladdr", "02:00:00:00:00:fe", "dev", "eth0", "nud", "permanent")

    def heal(self, name):
        """Undoes all of these."""
        ip("-n", self.hub, "link", "set", self.members[name][1], "up")
        for space, device in [(self.hub, "br0")] + [(space, "eth0") for space, _, _ in self.members.values()]:
            ip("-n", space, "neigh", "flush", "dev", device, "nud", "permanent")

    def close(self):
        self.guard.stdin.close()
        self.guard.wait()


def ip(*words):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"ip {' '.join(words)}: {done.stderr.strip()}")

"""The peer beside us: real Ceph, brought up and driven by scripts that are not part of this project."""
import json
import os
import subprocess


class Peer:
    """A folder with ceph-up, ceph-down and ceph-bench (see docs/performance.md for what they have to do)."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("ceph-up", "ceph-down", "ceph-bench"):
            if not os.access(os.path.join(folder, name), os.X_OK):
                raise SystemExit(f"--peer ceph: no {name} in {folder}; give the folder of the peer's scripts with --peer-scripts or STORAGE_PEER")
        self.data = os.environ.get("PEER", "/tmp/peer")
        self.output = os.path.join(self.data, "beside.json")
        self.started = False

    def script(self, *words, **environment):
        done = subprocess.run([os.path.join(self.folder, words[0]), *words[1:]], capture_output=True, text=True,
                              env={**os.environ, "PEER": self.data, "OUT": self.output, **environment})
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(words)} failed: {done.stderr.strip()[-2000:]}")

    def up(self):
        self.script("ceph-up")
        self.started = True
        if os.path.exists(self.output):
            os.remove(self.output)
        self.script("ceph-bench", "fill", RUNS="1")

    def run(self, load, seconds):
        """One run of a load through librbd without a cache: the peer's fastest way that is durable when it answers."""
        self.script("ceph-bench", "rbd", RUNS="1", SECS=str(seconds), ONLY=load)
        with open(self.output) as f:
            found = find(json.load(f), load)
        if found is None:
            raise SystemExit(f"ceph-bench wrote no figures of {load} into {self.output}")
        return found

    def down(self):
        if self.started:
            self.script("ceph-down")


def find(tree, load):
    """The figures of a load, wherever the scripts put them."""
    if isinstance(tree, dict):
        if load in tree and isinstance(tree[load], dict):
            return tree[load]
        for value in tree.values():
            found = find(value, load)
            if found is not None:
                return found
    return None

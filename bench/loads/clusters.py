"""Brings up the clusters that are measured."""
import json
import os
import shutil
import subprocess
import tempfile
import time

from . import measure

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VOLUME = "bench"
WARM_UP = 4  # seconds


class Cluster:
    """A local cluster, ours to stop if we started it."""

    def __init__(self, args, data=None, osds=3):
        self.binary = os.path.join(ROOT, "cluster", "storage")
        self.own = data is None
        self.data = data or os.path.join(tempfile.mkdtemp(prefix="storage-bench-"), "cluster")
        self.timings = {}
        self.snapshots = 0
        if self.own:
            words = [os.path.join(ROOT, "cluster", "up"), "--data", self.data, "--port-base", str(args.port_base), "--osds", str(osds),
                     "--osd-size", args.osd_size]
            words += ["--single-process"] if args.single_process else []
            subprocess.run([os.path.join(ROOT, "cluster", "build")], check=True)
            start = time.time()
            try:
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            except subprocess.CalledProcessError:
                self.stop()
                raise SystemExit("the cluster did not come up")
            self.timings["boot_s"] = time.time() - start
        self.nbd = json.loads(self.storage("endpoints", "--json"))["nbd"]
        self.uris = [f"{self.nbd}/{VOLUME}"]
        self.daemons = {d["name"]: d["pid"] for d in json.loads(self.storage("daemons", "--json")) if d.get("pid")}
        if len(set(self.daemons.values())) == 1:  # all of them in one process
            self.daemons = {"osd+all": next(iter(self.daemons.values()))}

    def storage(self, *words):
        done = subprocess.run([self.binary, "--data", self.data, *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"storage {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def fill(self, size):
        """Writes what the loads will use of every volume, so that nothing is read or overwritten that was never there."""
        existing = self.storage("volume", "ls", "--json")
        for uri in self.uris:
            name = uri.rsplit("/", 1)[1]
            if f'"{name}"' not in existing:
                self.storage("volume", "create", name, "--size", "4GiB")
        start = time.time()
        measure.fio(self.uris, size, ["--rw=write", "--bs=1m", "--iodepth=8"], [])
        self.timings["fill_s"] = time.time() - start
        # The daemons have just started: what runs often is compiled for speed by now.
        measure.fio(self.uris, size, ["--rw=randrw", "--bs=4k", "--iodepth=32"], ["--time_based", f"--runtime={WARM_UP}"])

    def volumes(self, count, size):
        """The loads go to this many volumes at once from now on."""
        known = len(self.uris)
        self.uris = [f"{self.nbd}/{VOLUME}" + (f"-{i}" if i else "") for i in range(count)]
        if count > known:
            self.fill(size)

    def snapshot(self):
        self.snapshots += 1
        self.storage("volume", "snapshot", "create", f"{VOLUME}@bench-{os.getpid()}-{self.snapshots}")

    def drop_snapshots(self):
        for number in range(1, self.snapshots + 1):
            self.storage("volume", "snapshot", "rm", f"{VOLUME}@bench-{os.getpid()}-{number}")

    def stop(self):
        if self.own:
            subprocess.run([os.path.join(ROOT, "cluster", "down"), "--data", self.data], check=False, stdout=subprocess.DEVNULL)
            shutil.rmtree(os.path.dirname(self.data), ignore_errors=True)

"""Runs fio and counts what the daemons spent meanwhile."""
import json
import os
import resource
import subprocess
import typing

TICK = os.sysconf("SC_CLK_TCK")



class Load(typing.NamedTuple):
    """A load of fio on a volume."""
    name: str
    peer: typing.Optional[str]  # the same load's name in the peer's scripts
    words: list
    size: typing.Optional[str] = None  # bytes of the volume it works on; None: as much as was filled
    snapshot: bool = False  # a snapshot is taken before each run, so that writes find blocks they must keep


LOADS = [
    Load("4k randwrite QD1", "randwrite_4k_qd1", ["--rw=randwrite", "--bs=4k", "--iodepth=1"]),
    Load("4k randwrite QD32", "randwrite_4k_qd32", ["--rw=randwrite", "--bs=4k", "--iodepth=32"]),
    Load("4k randread QD1", "randread_4k_qd1", ["--rw=randread", "--bs=4k", "--iodepth=1"]),
    Load("4k randread QD32", "randread_4k_qd32", ["--rw=randread", "--bs=4k", "--iodepth=32"]),
    Load("4k seqwrite QD32", None, ["--rw=write", "--bs=4k", "--iodepth=32"]),
    Load("70/30 mix QD32", "mixed70_4k_qd32", ["--rw=randrw", "--rwmixread=70", "--bs=4k", "--iodepth=32"]),
    Load("1M seqwrite QD8", "seqwrite_1m_qd8", ["--rw=write", "--bs=1m", "--iodepth=8"]),
    Load("1M seqread QD8", "seqread_1m_qd8", ["--rw=read", "--bs=1m", "--iodepth=8"]),
    Load("1M cached read QD8", None, ["--rw=read", "--bs=1m", "--iodepth=8"], size="128m"),
    Load("4k write, 64 x QD16", None, ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--numjobs=64"]),
    Load("4k write, snapshot", None, ["--rw=randwrite", "--bs=4k", "--iodepth=32"], snapshot=True),
]


def usage(pid):
    """User and system CPU seconds, context switches, bytes written and resident bytes of a process."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as f:
                switches += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
        except FileNotFoundError:
            pass  # a thread that has ended
    with open(f"/proc/{pid}/io") as f:
        written = int([line.split()[1] for line in f if line.startswith("write_bytes")][0])
    return {"user": int(fields[11]) / TICK, "system": int(fields[12]) / TICK, "switches": switches,
            "written": written, "resident": int(fields[21]) * os.sysconf("SC_PAGE_SIZE")}


def machine():
    """Ticks that the machine was busy, and all its ticks."""
    with open("/proc/stat") as f:
        ticks = [int(x) for x in f.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def children_cpu():
    """CPU seconds of the programs that were run and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def fio(uris, size, words, extra):
    """Runs a load on each of some volumes at once; the figures are of all of them together."""
    command = ["fio", "--ioengine=nbd", f"--size={size}", "--randrepeat=0", "--norandommap", "--group_reporting",
               "--output-format=json", "--percentile_list=50:99:99.9", *words, *extra]
    for number, uri in enumerate(uris):
        command += [f"--name=job{number}", f"--uri={uri}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"fio failed: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]


def run(cluster, load, seconds, size):
    """One load on a cluster: what fio saw, and what each daemon spent per operation."""
    if load.snapshot:
        cluster.snapshot()
    client = children_cpu()
    account = Account(cluster)
    job = fio(cluster.uris, load.size or size, load.words, ["--time_based", f"--runtime={seconds}"])
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"] > 0]
    operations = sum(side["total_ios"] for side in sides)
    slower = max(sides, key=lambda side: side["clat_ns"]["percentile"]["99.000000"])  # of a mix, what hurts
    result = {
        "iops": sum(side["iops"] for side in sides),
        "mb_s": sum(side["bw_bytes"] for side in sides) / 1e6,
        "mean_ms": sum(side["clat_ns"]["mean"] * side["total_ios"] for side in sides) / operations / 1e6,
        "p99_ms": slower["clat_ns"]["percentile"]["99.000000"] / 1e6,
        "p999_ms": slower["clat_ns"]["percentile"]["99.900000"] / 1e6,
        "max_ms": max(side["clat_ns"]["max"] for side in sides) / 1e6,
        "operations": operations,
        "bytes": sum(side["io_bytes"] for side in sides),
    }
    account.close(result, account.take(), job["write"]["io_bytes"], children_cpu() - client)
    return result


def objects(cluster, mode, seconds, block, depth):
    """A load of the object client, straight to the OSDs."""
    process = subprocess.Popen([cluster.binary, "--data", cluster.data, "object", "bench", mode, "--pool", "volumes", "--block-size", str(block),
                                "--depth", str(depth), "--seconds", str(seconds), "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    account, costs = None, {}
    said = []
    for line in process.stderr:  # what stage it is at: its objects are made before and removed after what is measured
        said.append(line)
        if line.startswith(("overwriting", "reading")):
            account = Account(cluster)
        elif line.startswith("removing") and account:
            costs = account.take()
    text = process.stdout.read()
    if process.wait() != 0:
        raise SystemExit(f"storage object bench failed: {''.join(said).strip()}")
    result = json.loads(text)
    result["bytes"] = result["operations"] * block
    account.close(result, costs, result["bytes"] if mode == "write" else 0, result["client_cpu_us_per_op"] * result["operations"] / 1e6)
    return result


class Account:
    """What a cluster's daemons spend from now on."""

    def __init__(self, cluster):
        self.daemons = cluster.daemons
        self.before = {name: usage(pid) for name, pid in self.daemons.items()}
        self.busy, self.ticks = machine()

    def take(self):
        """What they have spent until now."""
        return {"daemons": {name: usage(pid) for name, pid in self.daemons.items()}, "machine": machine()}

    def close(self, result, costs, written, client_cpu):
        """Adds the daemons' figures per operation to a result that has 'operations'."""
        after, (busy, ticks) = costs["daemons"], costs["machine"]
        operations = result["operations"]
        spent = 0.0
        result["daemons"] = {}
        for name in self.daemons:
            change = {key: after[name][key] - self.before[name][key] for key in after[name]}
            spent += change["user"] + change["system"]
            result["daemons"][name] = {
                "user_us_per_op": change["user"] * 1e6 / operations,
                "system_us_per_op": change["system"] * 1e6 / operations,
                "cpu_us_per_op": (change["user"] + change["system"]) * 1e6 / operations,
                "switches_per_op": change["switches"] / operations,
                "written_per_byte": change["written"] / written if written else 0.0,
                "resident_mib": after[name]["resident"] / 2**20,
            }
        osds = [figures for name, figures in result["daemons"].items() if name.startswith("osd")]
        for key in ("cpu_us_per_op", "switches_per_op", "written_per_byte"):
            result["osd_" + key] = sum(figures[key] for figures in osds)
            result["all_" + key] = sum(figures[key] for figures in result["daemons"].values())
        # What others on the machine took: absolute figures of a run beside them say little.
        result["others_cpu_percent"] = max(0.0, 100 * ((busy - self.busy) - (spent + client_cpu) * TICK) / (ticks - self.ticks))

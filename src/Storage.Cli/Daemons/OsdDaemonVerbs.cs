using System.CommandLine;
using System.Globalization;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.Osd;
using Storage.Rpc.Admin;

namespace Storage.Cli.Daemons;

/// <summary><c>osd mkfs</c> and <c>osd run</c>.</summary>
internal static class OsdDaemonVerbs
{
    /// <summary>Size of a block file where none is given.</summary>
    public const long DefaultSize = 8L << 30;

    /// <summary>Four checkpoints' worth: more would only take longer to make and to replay.</summary>
    private const long LargestJournal = 256L << 20;

    private const long SmallestJournal = 16L << 20;

    private const double BytesPerWeight = 1L << 40;

    public static Verb Mkfs()
    {
        var cluster = new Option<string?>("--cluster") { Description = "The cluster's data folder, where its monitors stand; default $STORAGE_CLUSTER." };
        var size = new Option<string>("--size") { Description = "Size of the block file; all of it is allocated.", DefaultValueFactory = _ => "8GiB" };
        var listen = new Option<string>("--listen") { Description = "Where it will listen, HOST:PORT.", Required = true };
        var id = new Option<int?>("--osd-id") { Description = "The number wanted; default the lowest free one." };
        var host = new Option<string>("--host") { Description = "The CRUSH bucket for this machine.", DefaultValueFactory = _ => Environment.MachineName };
        var deviceClass = new Option<string>("--device-class") { Description = "hdd, ssd or nvme.", DefaultValueFactory = _ => "ssd" };
        var weight = new Option<string?>("--weight") { Description = "CRUSH weight; default the size in TiB." };
        return new Verb(
            "mkfs",
            "Allocates an OSD's number and makes its store. A link named 'block' to a raw device in the folder is used in place of a file.",
            "storage osd mkfs --data /var/lib/storage/osd.3 --size 100GiB --listen 127.0.0.1:10823") { cluster, size, listen, id, host, deviceClass, weight, DaemonOptions.InsecureNetworkOption }.Does(async (run, cancellation) =>
        {
            string folder = DaemonOptions.Folder(run);
            ClusterFile file = ClusterFile.Find(run.Get(cluster));
            NodeAddress address = AddressRules.ParseListen(run.Get(listen)!, DaemonOptions.InsecureNetwork(run));
            long bytes = Amount.ParseBytes(run.Get(size)!);
            RequireSize(bytes); // before the map has an OSD without a disk
            if (DaemonFile.Exists(folder))
            {
                throw new CliException($"{folder} holds a daemon already.");
            }

            using var channel = AdminChannel.Create(file.Monitors.Select(monitor => monitor.AdminAddress));
            Guid uuid = Guid.NewGuid();
            var request = new OsdCreateRequest { Uuid = uuid.ToString(), CrushWeight = run.Get(weight) is { } given ? Amount.ParseNumber(given) : WeightOf(bytes), DeviceClass = run.Get(deviceClass) };
            request.Location.Add("root", "default");
            request.Location.Add("host", run.Get(host));
            if (run.Get(id) is { } wanted)
            {
                request.Osd = wanted;
            }

            OsdCreateReply reply = await new AdminClient(channel).OsdCreateAsync(request, cancellation).ConfigureAwait(false);
            await FormatAsync(folder, bytes, uuid, new DaemonFile
            {
                Role = "osd",
                Fsid = file.Fsid,
                Id = reply.Osd,
                Listen = address.ToString(),
                Monitors = [.. file.Monitors.Select(monitor => monitor.Address)],
            }).ConfigureAwait(false);
            await Console.Error.WriteLineAsync($"osd.{reply.Osd} made in {folder}; start it with: storage osd run --data {folder}").ConfigureAwait(false);
        });
    }

    public static Verb Run() => DaemonOptions.AddTo(new Verb("run", "Runs an OSD in the foreground.", "storage osd run --data /var/lib/storage/osd.3") { DaemonOptions.BindOption }).Does((run, cancellation) =>
    {
        string folder = DaemonOptions.Folder(run);
        DaemonFile file = DaemonFile.Read(folder, "osd");
        NodeAddress told = AddressRules.ParseListen(file.Listen, DaemonOptions.InsecureNetwork(run));
        string? bind = DaemonOptions.Bind(run, told);
        return DaemonHost.RunAsync(
            string.Create(CultureInfo.InvariantCulture, $"osd.{file.Id}"), DaemonOptions.Logging(run), context => new OsdProcess(context, folder, file, DaemonOptions.FaultFolder(run), bind), cancellation);
    });

    /// <summary>Refuses a store too small for its journal and some data.</summary>
    /// <exception cref="CliException">It is.</exception>
    public static void RequireSize(long bytes)
    {
        const long least = 128L << 20;
        if (bytes < least)
        {
            throw new CliException($"{Amount.Bytes(bytes)} are too little for an OSD's store; at least {Amount.Bytes(least)} are needed.");
        }
    }

    /// <summary>The CRUSH weight of a disk.</summary>
    public static double WeightOf(long bytes) => Math.Max(Math.Round(bytes / BytesPerWeight, 5), 0.0001);

    /// <summary>Makes an OSD's data folder; complete once the configuration file is there.</summary>
    public static async Task FormatAsync(string folder, long bytes, Guid uuid, DaemonFile file)
    {
        Directory.CreateDirectory(folder);
        DiskObjectStore.Format(folder, bytes, uuid, new DiskStoreOptions { JournalBytes = Math.Min(LargestJournal, Math.Max(bytes / 8, SmallestJournal)) });
        using (var thread = new LoopThread("mkfs", failure => Environment.FailFast("the event loop ended", failure)))
        {
            await thread.InvokeAsync(async () =>
            {
                DiskObjectStore store = await OsdProcess.OpenStoreAsync(thread.Loop, folder);
                var formatted = new FormatCompletion();
                OsdDaemon.Format(store, file.Fsid, new OsdId(file.Id), uuid, formatted);
                await formatted.Task;
                await store.CloseAsync();
            }).ConfigureAwait(false);
        }

        file.Write(folder);
    }

    private sealed class FormatCompletion : IStoreCompletion
    {
        private readonly TaskCompletionSource _done = new();

        public Task Task => _done.Task;

        public void OnCommitted(ulong token) => _done.SetResult();
    }
}

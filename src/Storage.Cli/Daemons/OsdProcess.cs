using Microsoft.Extensions.Logging;
using Storage.Cli.Configuration;
using Storage.Cli.Faults.Injection;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.Osd;
using Storage.Reactor;

namespace Storage.Cli.Daemons;

/// <summary>An OSD as a process: its loop, its store, its messenger.</summary>
internal sealed class OsdProcess(DaemonContext context, string folder, DaemonFile file, string? faultFolder, string? bind = null) : IDaemon
{
    private FaultSocket? _faults;
    private LoopThread? _thread;
    private DiskObjectStore? _store;
    private OsdDaemon? _daemon;

    /// <summary>Opens the store in a folder; on the loop.</summary>
    public static Task<DiskObjectStore> OpenStoreAsync(ReactorLoop loop, string folder, FaultPoints? faults = null)
    {
        string path = Path.Combine(folder, DiskObjectStore.BlockFileName);
        IBlockDevice device = BlockDevices.Open(loop, path);
        if (faults is not null)
        {
            device = faults.Device = new FaultyBlockDevice(loop, device);
        }

        return DiskObjectStore.OpenAsync(loop, device, Path.Combine(folder, DiskObjectStore.DatabaseName), new DiskStoreOptions { Discard = BlockDevices.IsRawDevice(path) });
    }

    public async Task StartAsync(CancellationToken cancellation)
    {
        ulong instance = ClientSession.RandomId();
        var options = new OsdOptions
        {
            Instance = instance,
            ListenAddress = AddressRules.Parse(file.Listen),
            BindHost = bind,
            MonitorAddresses = file.MonitorAddresses(),
        };
        _thread = context.Shared?.Thread ?? new LoopThread(context.Name, context.Fail, text => context.Log.LogWarning("{Warning}", text));
        FaultPoints? points = faultFolder is null ? null : new FaultPoints(_thread.Loop);
        await _thread.InvokeAsync(async () =>
        {
            _store = await OpenStoreAsync(_thread.Loop, folder, points);
            OsdIdentity identity = OsdDaemon.ReadIdentity(_store)
                ?? throw new InvalidOperationException($"the store in {folder} belongs to no OSD; make it again with storage osd mkfs");
            if (identity.Fsid != file.Fsid || identity.Osd.Value != file.Id)
            {
                throw new InvalidOperationException($"the store in {folder} is {identity.Osd} of cluster {identity.Fsid}, but {DaemonFile.FileName} says osd.{file.Id} of {file.Fsid}");
            }

            var transport = new TcpTransport(_thread.Loop, new PeerIdentity(EntityKind.Osd, (ulong)file.Id, instance), file.Fsid, new TcpTransportOptions { Filter = points?.Filter });
            transport.Warning += text => context.Log.LogWarning("{Warning}", text);
            _daemon = new OsdDaemon(_thread.Loop, context.Shared?.Join(transport) ?? transport, _store, options, ClientSession.NewRandom(), context.Log);
            _daemon.Failed += context.Fail;
            _daemon.Start();
        }).ConfigureAwait(false);
        if (points is not null)
        {
            points.Store = _store;
            _faults = FaultSocket.TryStart(context, _thread, points, faultFolder!);
        }

        context.Log.LogInformation("{Daemon} listens on {Address}", context.Name, options.ListenAddress);
    }

    public async ValueTask DisposeAsync()
    {
        if (_thread is null)
        {
            return;
        }

        if (_faults is not null)
        {
            await _faults.DisposeAsync().ConfigureAwait(false);
        }

        await _thread.InvokeAsync(async () =>
        {
            if (_daemon is not null)
            {
                var stopped = new TaskCompletionSource();
                _daemon.Stop(static state => ((TaskCompletionSource)state!).SetResult(), stopped);
                await stopped.Task;
            }

            if (_store is { Failure: null })
            {
                await _store.CloseAsync();
            }
        }).ConfigureAwait(false);
        if (context.Shared is null)
        {
            _thread.Dispose();
        }
    }
}

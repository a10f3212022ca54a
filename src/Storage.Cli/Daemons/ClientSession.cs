using System.Security.Cryptography;
using Storage.Cli.Faults.Injection;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Messaging.Tcp;

namespace Storage.Cli.Daemons;

/// <summary>An object client on a loop of its own, for commands and gateways.</summary>
internal sealed class ClientSession : IAsyncDisposable
{
    private readonly bool _ownsThread;

    private ClientSession(LoopThread thread, ObjectClient inner, bool ownsThread)
    {
        Thread = thread;
        _ownsThread = ownsThread;
        Inner = inner;
        Client = new LoopObjectClient(thread.Loop, inner);
    }

    public LoopThread Thread { get; }

    /// <summary>Where faults get in; null where they may not.</summary>
    public FaultPoints? Faults { get; private init; }

    /// <summary>The client itself; used on the loop only.</summary>
    public ObjectClient Inner { get; }

    /// <summary>The client for any thread.</summary>
    public LoopObjectClient Client { get; }

    /// <summary>Starts the loop and the client, which looks for a monitor in the background.</summary>
    /// <param name="fsid">The cluster.</param>
    /// <param name="monitors">Addresses of monitors.</param>
    /// <param name="failed">Told of a failure that ended the loop.</param>
    /// <param name="warning">Told what is worth a line in the log; may be null.</param>
    /// <param name="withFaults">Let it be cut off from its peers.</param>
    /// <param name="shared">The loop to live on; null for one of its own.</param>
    public static async Task<ClientSession> OpenAsync(
        Guid fsid, IReadOnlyList<NodeAddress> monitors, Action<Exception> failed, Action<string>? warning = null, bool withFaults = false, SharedLoop? shared = null)
    {
        LoopThread thread = shared?.Thread ?? new LoopThread("client", failed, warning);
        try
        {
            ulong id = RandomId();
            FaultPoints? faults = withFaults ? new FaultPoints(thread.Loop) : null;
            ObjectClient inner = await thread.InvokeAsync(() =>
            {
                var transport = new TcpTransport(thread.Loop, new PeerIdentity(EntityKind.Client, id, RandomId()), fsid, new TcpTransportOptions { Filter = faults?.Filter });
                if (warning is not null)
                {
                    transport.Warning += warning;
                }

                return Task.FromResult(new ObjectClient(thread.Loop, shared?.Join(transport) ?? transport, new ClientOptions { MonitorAddresses = monitors, ClientId = id }, NewRandom()));
            }).ConfigureAwait(false);
            return new ClientSession(thread, inner, shared is null) { Faults = faults };
        }
        catch when (shared is null)
        {
            thread.Dispose();
            throw;
        }
    }

    /// <summary>A number that no other process draws.</summary>
    public static ulong RandomId() => BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8)) | 1;

    /// <summary>A source of jitter.</summary>
    public static Random NewRandom() => new(BitConverter.ToInt32(RandomNumberGenerator.GetBytes(4)));

    public async ValueTask DisposeAsync()
    {
        await Thread.InvokeAsync(Inner.Dispose).ConfigureAwait(false);
        if (_ownsThread)
        {
            Thread.Dispose();
        }
    }
}

using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Admin;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;
using MonitorInfo = Storage.Cluster.MonitorInfo;
using OsdInfo = Storage.Cluster.OsdInfo;

namespace Storage.Tests.Monitor;

/// <summary>A leader without Raft: what it proposes is committed at once.</summary>
internal sealed class CoreHarness
{
    private static readonly MonitorInfo[] Monitors = [new(1, "a", new NodeAddress("mon-a", 6789), default)];

    public CoreHarness(int osds = 0, int hosts = 0, MonitorPolicy? policy = null)
    {
        Leader = new MapLeader(State, policy ?? new MonitorPolicy(), "mon.a");
        Changes = new AdminChanges(Leader, () => Now, () => new QuorumView(["a"], ["a"], "a", 1, Now));
        Leader.Start(Now, "mon.a leads");
        Settle();
        for (int i = 0; i < osds; i++)
        {
            var create = new OsdCreateRequest { Uuid = Uuid(i).ToString(), CrushWeight = 1 };
            if (hosts > 0)
            {
                create.Location.Add("root", "default");
                create.Location.Add("host", $"host{i % hosts}");
            }

            Admin("OsdCreate", create);
            Boot(i, 100);
        }

        Settle();
    }

    public MapState State { get; } = new();

    public MapLeader Leader { get; }

    public AdminChanges Changes { get; }

    public TimeSpan Now { get; private set; } = TimeSpan.FromSeconds(1);

    public long Unix => 1_900_000_000_000 + (long)Now.TotalMilliseconds;

    public ClusterMap Map => State.Map!;

    public int Proposals { get; private set; }

    public static Guid Uuid(int osd) => new(osd + 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);

    public OsdInfo Osd(int id) => Map.FindOsd(new OsdId(id))!;

    public byte[]? Propose() => Leader.MakeProposal(Unix, () => ClusterMap.Create(new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), Unix, Monitors, CrushPlan.Initial()));

    public void Settle()
    {
        while (Propose() is { } data)
        {
            Proposals++;
            State.Apply(data);
            Leader.Decided(committed: true);
        }
    }

    public void Boot(int osd, ulong instance, Epoch? newestMap = null) =>
        Leader.HandleBoot(new OsdBoot(new OsdId(osd), Uuid(osd), instance, new NodeAddress($"osd{osd}", 6800), newestMap ?? State.Map?.Epoch ?? Epoch.None), Now);

    public void Report(int by, int target, bool refused = false, bool withdrawn = false) =>
        Leader.HandleFailure(new OsdId(by), new OsdFailure(new OsdId(target), Osd(target).UpFrom, Map.Epoch, refused, 5000, withdrawn), Now);

    public void Statistics(int osd, long used = 10, params PgStatistics[] groups) =>
        Leader.HandleStatistics(new OsdStatistics(new OsdId(osd), Map.Epoch, 100, used, 0, 0, 0, 0, 0, 0, 0, groups), Now);

    /// <summary>Lets time pass in steps of half a second; the OSDs named report meanwhile.</summary>
    public void Pass(double seconds, params int[] alive)
    {
        for (double at = 0; at < seconds; at += 0.5)
        {
            Now += TimeSpan.FromSeconds(0.5);
            foreach (int osd in alive)
            {
                Statistics(osd);
            }

            Leader.Tick(Now, Unix);
            Settle();
        }
    }

    public (RpcStatus Status, Google.Protobuf.IMessage? Reply) Admin(string method, Google.Protobuf.IMessage request)
    {
        (RpcStatus, Google.Protobuf.IMessage?)? result = null;
        Assert.True(Changes.TryExecute(method, Google.Protobuf.MessageExtensions.ToByteArray(request), (status, reply) => result = (status, reply)));
        Settle();
        return result!.Value;
    }
}

using Storage.Cluster;
using Storage.Coding;
using Storage.Crush;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Reactor;

namespace Storage.Tests.Osd.Kit;

/// <summary>Stands in for the monitors: one process that never dies, makes maps from what OSDs ask, and hands them out.</summary>
public sealed class MapAuthority : IConnectionHandler
{
    public static readonly Guid Fsid = new("5f1d0000-0000-0000-0000-000000000001");

    private readonly IEventLoop _loop;
    private readonly List<byte[]> _increments = [];
    private readonly List<IConnection> _subscribers = [];
    private readonly Dictionary<OsdId, (Epoch UpFrom, HashSet<ulong> Reporters)> _reports = [];
    private Action<ClusterMapIncrement>? _pending;
    private readonly ClusterMap _first;

    public MapAuthority(IEventLoop loop, MemoryNetwork network, int osds)
    {
        _loop = loop;
        _first = Map = ClusterMap.Create(Fsid, 0, [], CrushMap.CreateFlat(osds, 1));
        Address = network.CreateTransport("mon", new PeerIdentity(EntityKind.Monitor, 0, 1), Fsid)
            .Listen(new NodeAddress("mon", 3300), _ => this).Address;
    }

    public NodeAddress Address { get; }

    public ClusterMap Map { get; private set; }

    public Dictionary<OsdId, OsdStatistics> Statistics { get; } = [];

    /// <summary>Reporters of silence needed to mark an OSD down.</summary>
    public int Reporters { get; set; } = 2;

    /// <summary>Oldest epoch from which increments are still handed out.</summary>
    public Epoch OldestKept { get; set; } = new(1);

    public void Change(Action<ClusterMapIncrement> change)
    {
        // Requests of one moment go into one epoch, as they do with real monitors.
        if (_pending is null)
        {
            _loop.Schedule(TimeSpan.FromMilliseconds(5), _ => Publish(), null);
        }

        _pending += change;
    }

    public void ChangeNow(Action<ClusterMapIncrement> change)
    {
        Change(change);
        Publish();
    }

    public void MarkDown(OsdId osd) => Change(increment =>
    {
        if (Find(increment, osd) is { IsUp: true } info)
        {
            Set(increment, info with { IsUp = false, DownAt = increment.Epoch });
        }
    });

    public void Edit(OsdId osd, Func<OsdInfo, OsdInfo> edit) => Change(increment => Set(increment, edit(Find(increment, osd)!)));

    public void EditPool(long id, Func<PoolInfo, PoolInfo> edit) => ChangeNow(increment =>
    {
        PoolInfo pool = increment.Pools.Find(known => known.Id == id) ?? Map.FindPool(id)!;
        increment.Pools.RemoveAll(known => known.Id == id);
        increment.Pools.Add(edit(pool));
    });

    public void OnOpened(IConnection connection)
    {
    }

    public void OnMessage(IConnection connection, in Message message)
    {
        switch (message.Type)
        {
            case MessageType.MapSubscribe:
                if (!_subscribers.Contains(connection))
                {
                    _subscribers.Add(connection);
                }

                SendMaps(connection, MapSubscribe.Decode(message.Body).Have);
                break;
            case MessageType.MonitorPing:
                connection.Send(MessageType.MonitorPong, [1]);
                break;
            case MessageType.NewestEpoch:
                var question = new WireReader(message.Body);
                question.ReadVersion(1, "question");
                var answer = new WireWriter();
                answer.WriteByte(1);
                answer.WriteUInt64(question.ReadUInt64());
                answer.WriteUInt32(Map.Epoch.Value);
                connection.Send(MessageType.NewestEpochReply, answer.WrittenSpan);
                break;
            case MessageType.OsdBoot:
                Boot(OsdBoot.Decode(message.Body));
                break;
            case MessageType.OsdFailure:
                Report(connection.Peer.Id, OsdFailure.Decode(message.Body));
                break;
            case MessageType.OsdAlive:
                OsdAlive alive = OsdAlive.Decode(message.Body);
                Change(increment =>
                {
                    if (Find(increment, alive.Osd) is { IsUp: true } info && info.UpFrom == alive.UpFrom && info.UpThru < alive.Want)
                    {
                        Set(increment, info with { UpThru = Map.Epoch });
                    }
                });
                break;
            case MessageType.PgTempRequest:
                PgTempRequest request = PgTempRequest.Decode(message.Body);
                Change(increment =>
                {
                    if (Map.Contains(request.Group) && Map.Locate(request.Group).Primary == request.Osd)
                    {
                        increment.PgTemp[request.Group] = [.. request.Acting];
                    }
                });
                break;
            case MessageType.OsdStatistics:
                OsdStatistics statistics = OsdStatistics.Decode(message.Body);
                Statistics[statistics.Osd] = statistics;
                break;
            case MessageType.OsdStopping:
                var reader = new WireReader(message.Body);
                MarkDown(new OsdId(reader.ReadInt32()));
                break;
            default:
                throw new MalformedDataException($"message {message.Type}");
        }
    }

    public void OnDrained(IConnection connection)
    {
    }

    public void OnClosed(IConnection connection, CloseReason reason) => _subscribers.Remove(connection);

    private OsdInfo? Find(ClusterMapIncrement increment, OsdId osd) => increment.Osds.Find(info => info.Id == osd) ?? Map.FindOsd(osd);

    private static void Set(ClusterMapIncrement increment, OsdInfo info)
    {
        increment.Osds.RemoveAll(known => known.Id == info.Id);
        increment.Osds.Add(info);
    }

    private void Boot(OsdBoot boot) => Change(increment =>
    {
        OsdInfo? known = Find(increment, boot.Osd);
        if (known is { IsUp: true } && known.Instance == boot.Instance)
        {
            return;
        }

        if (known is { IsUp: true })
        {
            Set(increment, known with { IsUp = false, DownAt = increment.Epoch });
            _loop.Schedule(TimeSpan.FromMilliseconds(6), _ => Boot(boot), null);
            return;
        }

        Set(increment, (known ?? new OsdInfo { Id = boot.Osd, Weight = OsdInfo.FullWeight }) with
        {
            Uuid = boot.Uuid,
            IsUp = true,
            Address = boot.Address,
            Instance = boot.Instance,
            UpFrom = increment.Epoch,
        });
    });

    private void Report(ulong reporter, OsdFailure failure)
    {
        if (Map.FindOsd(failure.Target) is not { IsUp: true } target || target.UpFrom != failure.TargetUpFrom)
        {
            return;
        }

        if (!_reports.TryGetValue(failure.Target, out (Epoch UpFrom, HashSet<ulong> Reporters) reports) || reports.UpFrom != failure.TargetUpFrom)
        {
            _reports[failure.Target] = reports = (failure.TargetUpFrom, []);
        }

        if (failure.Withdrawn)
        {
            reports.Reporters.Remove(reporter);
            return;
        }

        reports.Reporters.Add(reporter);
        if (failure.Refused || reports.Reporters.Count >= Reporters)
        {
            MarkDown(failure.Target);
        }
    }

    private void Publish()
    {
        if (_pending is not { } change)
        {
            return;
        }

        _pending = null;
        var increment = new ClusterMapIncrement { Epoch = Map.Epoch.Next };
        change(increment);
        if (increment.Osds.Count + increment.Pools.Count + increment.RemovedPools.Count + increment.PgTemp.Count + increment.Blocklisted.Count + increment.Configuration.Count + increment.UpmapItems.Count == 0
            && increment.Flags is null)
        {
            return;
        }

        _increments.Add(increment.ToArray());
        Map = Map.Apply(increment);
        foreach (IConnection connection in _subscribers.ToArray())
        {
            SendMaps(connection, new Epoch(Map.Epoch.Value - 1));
        }
    }

    private void SendMaps(IConnection connection, Epoch have)
    {
        var writer = new WireWriter();
        if (have < OldestKept)
        {
            new MapUpdate(Map.Encode(), []).Encode(writer);
        }
        else if (have < Map.Epoch)
        {
            int skip = (int)(have.Value - _first.Epoch.Value);
            new MapUpdate(ReadOnlyMemory<byte>.Empty, [.. _increments.Skip(skip).Select(bytes => (ReadOnlyMemory<byte>)bytes)]).Encode(writer);
        }
        else
        {
            return;
        }

        connection.Send(MessageType.MapUpdate, writer.WrittenSpan);
    }
}

using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Osd;

// What the daemon does for its placement groups.
public sealed partial class OsdDaemon
{
    private Epoch _upThruAsked;
    private bool _rerouting;

    OsdId IPlacementGroupHost.Self => Id;

    OsdOptions IPlacementGroupHost.Options => _options;

    TimeSpan IPlacementGroupHost.Now => _loop.Now;

    TimeSpan IPlacementGroupHost.StartedAt => _startedAt;

    Epoch IPlacementGroupHost.DiskSince => _maps.DiskSince;

    IObjectStore IPlacementGroupHost.Store => _store;

    OsdCounters IPlacementGroupHost.Counters => _counters;

    void IPlacementGroupHost.Reached(RarePath path) => _rarePaths.Reached(path);

    WireWriter IPlacementGroupHost.Scratch()
    {
        _scratch.Clear();
        return _scratch;
    }

    bool IPlacementGroupHost.Submit(PlacementGroup group, Transaction transaction, ulong token)
    {
        if (!_running)
        {
            return true; // the process is as good as dead: nothing it does counts, and nobody is told
        }

        try
        {
            _store.Submit(transaction, group, token);
            return true;
        }
        catch (StoreFullException)
        {
            return false;
        }
    }

    void IPlacementGroupHost.Send(OsdId target, MessageType type, WireWriter body, ReadOnlySpan<BufferSegment> data)
    {
        if (_running && IsUp)
        {
            FindPeer(target)?.Send(type, body.WrittenSpan, data);
        }
    }

    void IPlacementGroupHost.Answer(OsdId target, MessageType type, WireWriter body, ReadOnlySpan<BufferSegment> data)
    {
        if (!_running || !IsUp || !(IsPulse(type) ? _inboundPulses : _inbound).TryGetValue(target, out IConnection? connection))
        {
            return;
        }

        if (data.Length <= 1)
        {
            connection.Send(type, body.WrittenSpan, data.IsEmpty ? default : data[0]);
        }
        else
        {
            connection.Send(type, body.WrittenSpan, data);
        }
    }

    void IPlacementGroupHost.Complete(ClientOperation operation, ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, ReadOnlySpan<BufferSegment> data) =>
        Complete(operation, result, version, stepCount, steps, data);

    void IPlacementGroupHost.Drop(ClientOperation operation)
    {
        if (!_running || !operation.Connection.IsAlive)
        {
            End(operation);
            return;
        }

        // Said, not left to the client to find out: it may learn of both changes at once if we are the primary again by then.
        SendMaps(operation.Connection, operation.MapEpoch);
        Complete(operation, ResultCode.WrongPrimary, PgVersion.Zero, 0, default, default);
    }

    void IPlacementGroupHost.Reroute(ClientOperation operation)
    {
        _heldOperations.Add(operation);
        if (!_rerouting)
        {
            // Not now: the map may be on its way through the PGs.
            _rerouting = true;
            _loop.Post(
                static state =>
                {
                    var daemon = (OsdDaemon)state!;
                    daemon._rerouting = false;
                    daemon.ReleaseHeldOperations();
                },
                this);
        }
    }

    void IPlacementGroupHost.Wake(PlacementGroup group, TimeSpan delay) => _loop.Schedule(
        delay,
        state =>
        {
            if (_running && IsUp)
            {
                ((PlacementGroup)state!).Tick();
            }
        },
        group);

    void IPlacementGroupHost.RequestUpThru(Epoch want)
    {
        if (Map!.FindOsd(Id) is { } self && want > self.UpThru)
        {
            _upThruAsked = want > _upThruAsked ? want : _upThruAsked;
            _control.Clear();
            new OsdAlive(Id, self.UpFrom, _upThruAsked).Encode(_control);
            _monitor.Ask(MessageType.OsdAlive, _control.WrittenSpan);
        }
    }

    void IPlacementGroupHost.RequestPgTemp(PgId group, OsdId[] acting)
    {
        _control.Clear();
        new PgTempRequest(Id, group, acting, Map!.Epoch).Encode(_control);
        _monitor.Ask(MessageType.PgTempRequest, _control.WrittenSpan);
    }

    bool IPlacementGroupHost.IsKnownDead(OsdId osd, Epoch upFrom) =>
        Mutations.Active(Mutation.SilentCountsAsDead) || (_knownDead.TryGetValue(osd, out Epoch dead) && dead >= upFrom) || (Map?.FindOsd(osd) is { } record && record.UpFrom > upFrom);

    void IPlacementGroupHost.StateChanged()
    {
        if (!_statisticsDue && _running)
        {
            _statisticsDue = true;
            _loop.Schedule(TimeSpan.FromMilliseconds(50), static state => ((OsdDaemon)state!).SendDueStatistics(), this);
        }
    }

    bool IPlacementGroupHost.Hosts(PgId id) => _groups.ContainsKey(id);

    void IPlacementGroupHost.Added(PlacementGroup group)
    {
        _groups.Add(group.Id, group);
    }

    void IPlacementGroupHost.Removed(PlacementGroup group)
    {
        group.Stop();
        _groups.Remove(group.Id);
        BeginRemoval(group.Id, isMarked: false);
    }

    private void SendDueStatistics()
    {
        if (_running && _statisticsDue && IsUp)
        {
            SendStatistics();
        }
    }
}

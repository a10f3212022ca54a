using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Client;

// Following the map, and what a new one does to operations under way.
public sealed partial class ObjectClient
{
    /// <inheritdoc/>
    public ValueTask<ClusterMap> WaitForMapAsync(Epoch atLeast, CancellationToken cancellation = default)
    {
        Invariant.Holds(Loop.IsCurrent);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_map is not null && _map.Epoch >= atLeast)
        {
            return new ValueTask<ClusterMap>(_map);
        }

        var waiter = new MapWaiter(this, atLeast);
        _mapWaiters.Add(waiter);
        ArmWatchdog();
        return new ValueTask<ClusterMap>(waiter.WaitAsync(cancellation));
    }

    internal void OnMapUpdate(MapUpdate update)
    {
        if (_disposed)
        {
            return;
        }

        ClusterMap? map = _map;
        if (!update.Full.IsEmpty)
        {
            ClusterMap full = ClusterMap.Decode(update.Full.Span);
            if (map is not null && full.Fsid != map.Fsid)
            {
                throw new MalformedDataException($"a map of cluster {full.Fsid} came; this client belongs to {map.Fsid}");
            }

            if (map is null || full.Epoch > map.Epoch)
            {
                FollowAll(full, begins: true, skips: map is not null && full.Epoch > map.Epoch.Next);
                map = full;
            }
        }

        foreach (ReadOnlyMemory<byte> packed in update.Increments)
        {
            ClusterMapIncrement increment = ClusterMapIncrement.Decode(packed.Span);
            if (map is null || increment.Epoch > map.Epoch.Next)
            {
                // Some are missing: ask the monitor for all of them, once for a map.
                if (_resubscribedAt != (map?.Epoch ?? Epoch.None) || map is null)
                {
                    _resubscribedAt = map?.Epoch ?? Epoch.None;
                    _monitor.Subscribe();
                }

                break;
            }

            if (increment.Epoch == map.Epoch.Next)
            {
                bool begins = ReferenceEquals(map, _map);
                map = map.Apply(increment);
                FollowAll(map, begins, skips: false);
            }
        }

        if (map is not null && !ReferenceEquals(map, _map))
        {
            Volatile.Write(ref _map, map);
            OnMapChanged(map);
        }
    }

    private void FollowAll(ClusterMap map, bool begins, bool skips)
    {
        foreach (GroupLane lane in _lanes.Values)
        {
            if (begins)
            {
                lane.BeginUpdate(skips);
            }

            lane.Follow(map);
        }
    }

    private void OnMapChanged(ClusterMap map)
    {
        _scratchSessions.Clear();
        foreach (OsdSession session in _sessions.Values)
        {
            if (!session.IsCurrent(map))
            {
                _scratchSessions.Add(session);
            }
        }

        foreach (OsdSession session in _scratchSessions)
        {
            _sessions.Remove(session.Osd);
            session.Retire();
        }

        _scratchGroups.Clear();
        foreach (GroupLane lane in _lanes.Values)
        {
            lane.Held = false;
            if (lane.Fate is LaneFate.Same or LaneFate.NewInterval)
            {
                lane.Session = Mutations.Active(Mutation.ClientKeepsOldPrimary) ? lane.Session : SessionFor(lane.Primary);
            }
            else
            {
                _scratchGroups.Add(lane.Group);
            }
        }

        // Their operations leave them below; until then nobody else may find them.
        _scratchGroups.ForEach(group => _lanes.Remove(group));

        for (PendingOperation? operation = _issued.First; operation is { Admitted: true }; operation = operation.Next)
        {
            Reconsider(operation);
        }

        if (map.Blocklist.ContainsKey(_options.ClientId))
        {
            Fence();
        }

        SendWaiting();
        CompleteRefused();
        CompleteMapWaiters(map);
    }

    private void Reconsider(PendingOperation operation)
    {
        switch (operation.Lane?.Fate)
        {
            case LaneFate.Same:
                if (operation.SentOn is { } sent && !ReferenceEquals(sent, operation.Lane.Session))
                {
                    MarkUnsent(operation);
                }

                break;
            case LaneFate.NewInterval:
                if (operation.SentOn is not null)
                {
                    MarkUnsent(operation);
                }

                break;
            case LaneFate.PoolGone:
                _refused.Enqueue((operation, operation.Sequence, ResultCode.NoSuchPool));
                break;
            default:
                // No PG yet, or its pool was split.
                if (operation.SentOn is not null)
                {
                    MarkUnsent(operation);
                }

                LeaveLane(operation);
                Place(operation);
                break;
        }
    }

    /// <summary>The cluster has fenced this client. Nothing it does may count any more, even should the entry expire.</summary>
    private void Fence()
    {
        _fenced = true;
        for (PendingOperation? operation = _issued.First; operation is not null; operation = operation.Next)
        {
            _refused.Enqueue((operation, operation.Sequence, ResultCode.Blocklisted));
        }
    }

    private void CompleteMapWaiters(ClusterMap map)
    {
        for (int i = _mapWaiters.Count - 1; i >= 0; i--)
        {
            if (i < _mapWaiters.Count && _mapWaiters[i].AtLeast <= map.Epoch)
            {
                MapWaiter waiter = _mapWaiters[i];
                _mapWaiters.RemoveAt(i);
                waiter.Completion.TrySetResult(map);
            }
        }
    }

    /// <summary>While something waits and no map comes, another monitor is asked now and then: ours may be cut off.</summary>
    private void ArmWatchdog()
    {
        if (_watchdog is null && !_disposed)
        {
            _watchedEpoch = _map?.Epoch ?? Epoch.None;
            _watchdog = Loop.Schedule(_options.MonitorPatience, static s => ((ObjectClient)s!).OnWatchdog(), this);
        }
    }

    private void OnWatchdog()
    {
        _watchdog = null;
        if (!IsWaitingForCluster())
        {
            return;
        }

        if (_map is not null && _map.Epoch == _watchedEpoch)
        {
            _monitor.Rotate();
        }

        ArmWatchdog();
    }

    private bool IsWaitingForCluster()
    {
        if (_mapWaiters.Count > 0 || OpenQuestion != 0)
        {
            return true;
        }

        for (PendingOperation? operation = _issued.First; operation is { Admitted: true }; operation = operation.Next)
        {
            if (operation.SentOn is null && operation.Lane?.Session is not { CanSend: true })
            {
                return true;
            }

            if (operation.Lane is { } lane && lane.WaitFor > (_map?.Epoch ?? Epoch.None))
            {
                return true;
            }
        }

        return false;
    }

    private sealed class MapWaiter(ObjectClient client, Epoch atLeast)
    {
        public Epoch AtLeast => atLeast;

        public TaskCompletionSource<ClusterMap> Completion { get; } = new();

        public async Task<ClusterMap> WaitAsync(CancellationToken cancellation)
        {
            using CancellationTokenRegistration registration = cancellation.UnsafeRegister(
                static (state, token) =>
                {
                    var waiter = (MapWaiter)state!;
                    waiter.Completion.TrySetCanceled(token);
                },
                this);
            try
            {
                return await Completion.Task;
            }
            finally
            {
                client._mapWaiters.Remove(this);
            }
        }
    }
}

using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Monitor.Core;

// What OSDs ask for: to be up, to be down, up_thru, pg_temp.
public sealed partial class MapLeader
{
    private readonly Dictionary<int, TimeSpan> _lastSeen = [];

    /// <summary>What the OSDs reported of themselves.</summary>
    public Status.ClusterStatistics Statistics { get; } = new();

    /// <summary>An OSD says that it is up.</summary>
    /// <param name="boot">The message.</param>
    /// <param name="now">Time on the loop.</param>
    public void HandleBoot(OsdBoot boot, TimeSpan now)
    {
        if (!IsLeading)
        {
            return;
        }

        _lastSeen[boot.Osd.Value] = now;
        NoteReturn(boot.Osd, boot.Instance, now);
        Request(new MapChange((draft, _) => DraftBoot(draft, boot)), ("boot", boot.Osd, boot.Instance));
    }

    /// <summary>An OSD stops in good order.</summary>
    /// <param name="osd">The OSD.</param>
    /// <param name="instance">The process that stops.</param>
    public void HandleStopping(OsdId osd, ulong instance)
    {
        if (!IsLeading)
        {
            return;
        }

        Request(new MapChange((draft, _) =>
        {
            if (draft.FindOsd(osd) is not { IsUp: true } info || info.Instance != instance)
            {
                return Verdict.NoChange;
            }

            if (draft.HasTurned(osd))
            {
                return Verdict.Again;
            }

            draft.MarkDown(info);
            draft.Log(EventLevel.Info, _name, $"{osd} stops and is marked down");
            return Verdict.Drafted;
        }));
    }

    /// <summary>An OSD wants its up_thru recorded.</summary>
    /// <param name="alive">The message.</param>
    /// <param name="now">Time on the loop.</param>
    public void HandleAlive(OsdAlive alive, TimeSpan now)
    {
        if (!IsLeading)
        {
            return;
        }

        _lastSeen[alive.Osd.Value] = now;
        Request(
            new MapChange((draft, _) =>
            {
                if (draft.FindOsd(alive.Osd) is not { IsUp: true } info || info.UpFrom != alive.UpFrom || info.UpThru >= alive.Want
                    || alive.Want > draft.Base.Epoch || Mutations.Active(Mutation.UpThruNotRecorded))
                {
                    return Verdict.NoChange;
                }

                draft.Set(info with { UpThru = draft.Base.Epoch });
                return Verdict.Drafted;
            }),
            alive);
    }

    /// <summary>A primary wants others to act for a PG for the time being.</summary>
    /// <param name="request">The message.</param>
    public void HandlePgTemp(PgTempRequest request)
    {
        if (!IsLeading)
        {
            return;
        }

        OsdId[] acting = [.. request.Acting];
        Request(new MapChange((draft, _) => DraftPgTemp(draft, request, acting)), (request.Group, request.Epoch, string.Join(',', acting)));
    }

    /// <summary>An OSD's statistics, which are its sign of life.</summary>
    /// <param name="statistics">The message.</param>
    /// <param name="now">Time on the loop.</param>
    public void HandleStatistics(OsdStatistics statistics, TimeSpan now)
    {
        if (IsLeading && _state.Map is { } map && map.FindOsd(statistics.Osd) is not null)
        {
            _lastSeen[statistics.Osd.Value] = now;
            Statistics.Record(statistics, map, now);
        }
    }

    private Verdict DraftBoot(MapDraft draft, OsdBoot boot)
    {
        if (draft.FindOsd(boot.Osd) is not { } osd)
        {
            LogOnce(EventLevel.Warn, ("boot", boot.Osd), $"{boot.Osd} ({boot.Uuid}) wants to boot and is not in the map: create it first");
            return Verdict.NoChange;
        }

        if (osd.Uuid != boot.Uuid)
        {
            LogOnce(EventLevel.Error, ("uuid", boot.Osd, boot.Uuid), $"{boot.Osd} wants to boot from disk {boot.Uuid}, but the number belongs to disk {osd.Uuid}: refused");
            return Verdict.NoChange;
        }

        if (osd.IsUp && osd.Instance == boot.Instance && osd.Address == boot.Address)
        {
            return Verdict.NoChange;
        }

        // A message that was long under way: the process has not heard that it was marked down, and may still serve in its former life; or another
        // process has taken its place. One that lives gets the maps, and sends it again.
        if (boot.NewestMap < (osd.Instance == boot.Instance ? osd.DownAt : osd.UpFrom) && !Mutations.Active(Mutation.OldBootsCount))
        {
            return Verdict.NoChange;
        }

        if (boot.Address.IsNone || (draft.Flags & ClusterFlags.NoUp) != 0)
        {
            return Verdict.NoChange;
        }

        if (draft.HasTurned(boot.Osd))
        {
            return Verdict.Again;
        }

        if (osd.IsUp && !Mutations.Active(Mutation.RestartNotSeen))
        {
            // The process was started anew before anybody saw the old one die: down in this epoch, up in the next, so that every
            // PG sees a new interval.
            draft.MarkDown(osd);
            draft.Log(EventLevel.Warn, _name, $"{boot.Osd} started anew without having been down: marked down");
            return Verdict.Again;
        }

        bool marksIn = osd.AutoOut && (draft.Flags & ClusterFlags.NoIn) == 0;
        draft.Set(osd with
        {
            IsUp = true,
            Instance = boot.Instance,
            Address = boot.Address,
            UpFrom = osd.IsUp && Mutations.Active(Mutation.RestartNotSeen) ? osd.UpFrom : draft.Epoch,
            Weight = marksIn ? OsdInfo.FullWeight : osd.Weight,
            AutoOut = osd.AutoOut && !marksIn,
        });
        draft.Log(EventLevel.Info, _name, $"{boot.Osd} boots at {boot.Address}{(marksIn ? " and is marked in" : "")}");
        return Verdict.Drafted;
    }

    private Verdict DraftPgTemp(MapDraft draft, PgTempRequest request, OsdId[] acting)
    {
        // Nothing drafted beside it has to be looked at: the request is for the interval of the base map, and if the draft ends
        // that, the new interval's primary asks again and MapDraft.Build drops what has become void.
        ClusterMap map = draft.Base;
        if (!map.Contains(request.Group) || !draft.Pools.Any(pool => pool.Id == request.Group.Pool)
            || !map.IsUp(request.Osd) || !_state.IsSameInterval(request.Group, request.Epoch))
        {
            return Verdict.NoChange;
        }

        PgMapping mapping = map.Locate(request.Group);
        if (mapping.Primary != request.Osd && mapping.UpPrimary != request.Osd)
        {
            return Verdict.NoChange;
        }

        int size = map.FindPool(request.Group.Pool)!.Size;
        if (acting.Length > size || acting.Distinct().Count() != acting.Length || !Array.TrueForAll(acting, map.IsUp))
        {
            return Verdict.NoChange;
        }

        if (acting.AsSpan().SequenceEqual(mapping.Up))
        {
            acting = [];
        }

        if (Mutations.Active(Mutation.PgTempIgnored) || draft.GetPgTemp(request.Group).AsSpan().SequenceEqual(acting))
        {
            return Verdict.NoChange;
        }

        draft.SetPgTemp(request.Group, acting);
        return Verdict.Drafted;
    }

    private void LogOnce(EventLevel level, object subject, string text)
    {
        if (_logged.TryGetValue(subject, out TimeSpan last) && _lastTick - last < TimeSpan.FromMinutes(1))
        {
            return;
        }

        if (_logged.Count > 1000)
        {
            _logged.Clear();
        }

        _logged[subject] = _lastTick;
        _events.Add((level, _name, text));
    }
}

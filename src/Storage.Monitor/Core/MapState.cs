using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Monitor.Core;

/// <summary>
/// The replicated state: the map, its recent increments, since when each down OSD is down, and the cluster log. A function of the
/// committed commands alone: every monitor that applied the same ones holds the same state, byte for byte.
/// </summary>
public sealed class MapState
{
    /// <summary>Increments kept for nodes that are behind.</summary>
    public const int MostIncrements = 1000;

    /// <summary>Events kept.</summary>
    public const int MostEvents = 10_000;

    /// <summary>Answers kept for requests that may be handed on once more.</summary>
    public const int MostAnswers = 1000;

    private const byte FormatVersion = 2;
    private const int MostEventsInSnapshot = 2000;
    private const int MostPastGroups = 4_000_000;
    private readonly Queue<(Epoch Epoch, byte[] Data)> _increments = new();
    private readonly SortedDictionary<int, long> _downSince = [];
    private readonly Queue<ClusterLogEntry> _events = new();
    private readonly LinkedList<ClusterMap> _past = new();
    private readonly Dictionary<RequestId, byte[]> _answers = [];
    private readonly Queue<RequestId> _answered = new();
    private ulong _lastEvent;

    /// <summary>The map, or null before the cluster was founded.</summary>
    public ClusterMap? Map { get; private set; }

    /// <summary>The map's epoch; none before the first map.</summary>
    public Epoch Epoch => Map?.Epoch ?? Epoch.None;

    /// <summary>The cluster log, oldest first.</summary>
    public IReadOnlyCollection<ClusterLogEntry> Events => _events;

    /// <summary>Applies a committed entry. Entries that do not fit the present epoch change nothing: their proposer proposes anew.</summary>
    /// <param name="data">The entry's data.</param>
    /// <returns>Whether the map changed.</returns>
    public bool Apply(ReadOnlySpan<byte> data)
    {
        MapCommand command = MapCommand.Decode(data);
        bool founds = !command.Founding.IsEmpty;
        ClusterMapIncrement? increment = command.Increment.IsEmpty ? null : ClusterMapIncrement.Decode(command.Increment.Span);
        if (founds ? Map is not null : increment is not null && increment.Epoch != Epoch.Next)
        {
            return false;
        }

        if (founds)
        {
            Map = ClusterMap.Decode(command.Founding.Span);
            NoteDown(Map, command.UnixMilliseconds);
        }

        if (increment is not null && Map is not null)
        {
            Remember(Map);
            Map = Map.Apply(increment);
            NoteDown(Map, command.UnixMilliseconds);
            _increments.Enqueue((increment.Epoch, command.Increment.ToArray()));
            if (_increments.Count > MostIncrements)
            {
                _increments.Dequeue();
            }
        }

        foreach ((RequestId id, ReadOnlyMemory<byte> reply) in command.Requests)
        {
            NoteAnswer(id, reply.ToArray());
        }

        foreach ((EventLevel level, string source, string text) in command.Events)
        {
            _events.Enqueue(new ClusterLogEntry(++_lastEvent, command.UnixMilliseconds, level, source, text));
            if (_events.Count > MostEvents)
            {
                _events.Dequeue();
            }
        }

        return founds || increment is not null;
    }

    /// <summary>What an admin request that was carried out is answered.</summary>
    /// <param name="id">The request.</param>
    /// <returns>The encoded reply; null if it was not carried out, or so many others since that it was forgotten.</returns>
    public byte[]? FindAnswer(RequestId id) => _answers.GetValueOrDefault(id);

    /// <summary>The changes after an epoch.</summary>
    /// <param name="have">The epoch the asker has; none for nothing.</param>
    /// <returns>Increments where they are kept, else the whole map; null if there is nothing newer.</returns>
    public MapUpdate? ChangesSince(Epoch have)
    {
        if (Map is null || have >= Epoch)
        {
            return null;
        }

        int wanted = (int)(Epoch.Value - have.Value);
        return have == Epoch.None || wanted > _increments.Count
            ? new MapUpdate(Map.Encode(), [])
            : new MapUpdate(default, [.. _increments.Skip(_increments.Count - wanted).Select(entry => (ReadOnlyMemory<byte>)entry.Data)]);
    }

    /// <summary>When an OSD that is down was marked down.</summary>
    /// <param name="osd">The OSD.</param>
    /// <returns>Milliseconds since 1970 UTC by the clock of the leader of that time; null if it is not down.</returns>
    public long? DownSince(OsdId osd) => _downSince.TryGetValue(osd.Value, out long since) ? since : null;

    /// <summary>Whether a PG has had the same up and acting sets since an epoch.</summary>
    /// <param name="group">The PG; it must exist.</param>
    /// <param name="since">The epoch.</param>
    /// <returns>True if so; false too where that is not known any more.</returns>
    public bool IsSameInterval(PgId group, Epoch since)
    {
        if (Map is null || since > Epoch || (since < Epoch && (_past.Count == 0 || _past.First!.Value.Epoch > since)))
        {
            return false;
        }

        PgMapping now = Map.Locate(group);
        foreach (ClusterMap past in _past)
        {
            if (past.Epoch >= since
                && (!past.Contains(group)
                    || past.FindPool(group.Pool)!.Size != Map.FindPool(group.Pool)!.Size
                    || past.FindPool(group.Pool)!.MinSize != Map.FindPool(group.Pool)!.MinSize
                    || past.FindPool(group.Pool)!.PgCount != Map.FindPool(group.Pool)!.PgCount
                    || !past.Locate(group).Up.AsSpan().SequenceEqual(now.Up)
                    || !past.Locate(group).Acting.AsSpan().SequenceEqual(now.Acting)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Packs the state. Equal states give equal bytes.</summary>
    /// <returns>Version u8, map, increments, down times, last event number, events, answers.</returns>
    public byte[] Encode()
    {
        var writer = new WireWriter(4096);
        writer.WriteByte(FormatVersion);
        writer.WriteBytes(Map?.Encode());
        writer.WriteInt32(_increments.Count);
        foreach ((Epoch _, byte[] data) in _increments)
        {
            writer.WriteBytes(data);
        }

        writer.WriteInt32(_downSince.Count);
        foreach ((int osd, long since) in _downSince)
        {
            writer.WriteInt32(osd);
            writer.WriteInt64(since);
        }

        writer.WriteUInt64(_lastEvent);
        writer.WriteInt32(Math.Min(_events.Count, MostEventsInSnapshot));
        foreach (ClusterLogEntry entry in _events.Skip(_events.Count - MostEventsInSnapshot))
        {
            entry.Encode(writer);
        }

        writer.WriteInt32(_answered.Count);
        foreach (RequestId id in _answered)
        {
            writer.WriteUInt64(id.Origin);
            writer.WriteUInt64(id.Number);
            writer.WriteBytes(_answers[id]);
        }

        return writer.ToArray();
    }

    /// <summary>Replaces the state by a packed one.</summary>
    /// <param name="data">What <see cref="Encode"/> made; empty for the state before the first map.</param>
    /// <exception cref="MalformedDataException">The bytes are no state; the state is undefined then.</exception>
    public void Restore(ReadOnlySpan<byte> data)
    {
        Map = null;
        _increments.Clear();
        _downSince.Clear();
        _events.Clear();
        _past.Clear();
        _answers.Clear();
        _answered.Clear();
        _lastEvent = 0;
        if (data.IsEmpty)
        {
            return;
        }

        var reader = new WireReader(data);
        reader.ReadVersion(FormatVersion, "monitor snapshot");
        ReadOnlySpan<byte> map = reader.ReadBytes();
        Map = map.IsEmpty ? null : ClusterMap.Decode(map);
        for (int i = reader.ReadCount(4); i > 0; i--)
        {
            byte[] increment = reader.ReadBytes().ToArray();
            _increments.Enqueue((ClusterMapIncrement.Decode(increment).Epoch, increment));
        }

        for (int i = reader.ReadCount(12); i > 0; i--)
        {
            int osd = reader.ReadInt32();
            _downSince[osd] = reader.ReadInt64();
        }

        _lastEvent = reader.ReadUInt64();
        for (int i = reader.ReadCount(ClusterLogEntry.SmallestSize); i > 0; i--)
        {
            _events.Enqueue(ClusterLogEntry.Decode(ref reader));
        }

        for (int i = reader.ReadCount(20); i > 0; i--)
        {
            NoteAnswer(new RequestId(reader.ReadUInt64(), reader.ReadUInt64()), reader.ReadBytes().ToArray());
        }

        reader.ExpectEnd();
    }

    private void NoteAnswer(RequestId id, byte[] reply)
    {
        if (_answers.TryAdd(id, reply))
        {
            _answered.Enqueue(id);
            if (_answered.Count > MostAnswers)
            {
                _answers.Remove(_answered.Dequeue());
            }
        }
    }

    private void NoteDown(ClusterMap map, long now)
    {
        foreach (OsdInfo osd in map.Osds)
        {
            if (osd.IsUp)
            {
                _downSince.Remove(osd.Id.Value);
            }
            else
            {
                _downSince.TryAdd(osd.Id.Value, now);
            }
        }

        foreach (int gone in _downSince.Keys.Where(osd => map.FindOsd(new OsdId(osd)) is null).ToArray())
        {
            _downSince.Remove(gone);
        }
    }

    private void Remember(ClusterMap map)
    {
        // Maps remember where they placed PGs; how many are kept depends on how much that may be.
        _past.AddLast(map);
        long groups = Math.Max(1, map.Pools.Sum(pool => (long)pool.PgCount));
        long most = Math.Clamp(MostPastGroups / groups, 4, 64);
        while (_past.Count > most)
        {
            _past.RemoveFirst();
        }
    }
}

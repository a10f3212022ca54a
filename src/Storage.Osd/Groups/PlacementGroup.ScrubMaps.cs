using System.Text;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// How a member finds out what its copies of a range of objects are: bounded pieces of work, each after its turn came.
internal sealed partial class PlacementGroup
{
    private const int ScrubReadBytes = 512 << 10;
    private const int ScrubHoleBytes = 4 << 20;
    private const int ScrubOmapEntries = 1024;

    private static readonly byte[] s_zeroes = new byte[64 << 10];

    private ScrubBuild? _build;
    private ScrubTurn? _scrubTurn;
    private bool _scrubReserved;
    private TimeSpan _scrubHeardAt;

    private sealed class ScrubBuild(OsdId requester, ulong sequence, bool deep, ObjectId? end, List<ObjectId> objects)
    {
        public OsdId Requester { get; } = requester;

        public ulong Sequence { get; } = sequence;

        public bool Deep { get; } = deep;

        public ObjectId? End { get; } = end;

        public List<ObjectId> Objects { get; } = objects;

        public readonly List<ScrubEntry> Entries = new(objects.Count);
        public int Next;

        // The object under way.
        public bool InObject;
        public ScrubEntry Entry;
        public byte[]? OmapFrom;
        public long Offset;
        public int NextExtent;
        public readonly List<DataExtent> Extents = [];

        public ObjectId Object => Entry.Object;
    }

    // A piece of a build waits for its turn among the OSD's background work; there is one build, so one item does.
    private sealed class ScrubTurn(PlacementGroup group) : WorkItem
    {
        protected internal override bool Run() => group._build is not { } build || group.ContinueBuild(build);
    }

    private void QueueScrubTurn(int bytes)
    {
        _scrubTurn ??= new ScrubTurn(this);
        _host.Schedule(this, _scrubTurn, WorkClass.Scrub, bytes);
    }

    private void DropBuild()
    {
        _build = null;
        if (_scrubTurn is { } turn && (turn.IsQueued || turn.IsRunning))
        {
            _host.Cancel(turn);
        }
    }

    // Objects after a cursor, up to an end if one is given, all clones of a name together; not many more than asked for.
    private List<ObjectId> ListRange(ObjectId? after, ObjectId? end, int most, long mostBytes, out ObjectId? reached)
    {
        var objects = new List<ObjectId>();
        var page = new List<ObjectId>();
        long bytes = 0;
        ObjectId? from = after;
        while (true)
        {
            page.Clear();
            bool more = _host.Store.ListObjects(_collection, from, most + 2, page);
            foreach (ObjectId id in page)
            {
                if (end is not null && id > end)
                {
                    reached = end;
                    return objects;
                }

                if (!IsContent(id) || (after is not null && id <= after) || (objects.Count > 0 && id <= objects[^1]))
                {
                    continue;
                }

                bool sameName = objects.Count > 0 && objects[^1].Hash == id.Hash && objects[^1].Name == id.Name;
                if (!sameName && objects.Count > 0 && (objects.Count >= most || bytes >= mostBytes))
                {
                    reached = objects[^1].WithSnapshot(ObjectId.NoSnapshot);
                    return objects;
                }

                objects.Add(id);
                bytes += _host.Store.TryStat(_collection, id, out long size) ? size : 0;
            }

            if (!more)
            {
                reached = end;
                return objects;
            }

            from = page[^1];
        }
    }

    private void StartBuild(OsdId requester, ulong sequence, bool deep, ObjectId? after, ObjectId? end)
    {
        // Copies that are not as they should be may hold more than the primary's; the primary then takes a shorter range.
        DropBuild();
        List<ObjectId> objects = ListRange(after, end, _host.Options.ScrubChunkObjects * 4, deep ? _host.Options.ScrubChunkBytes * 4 : long.MaxValue, out ObjectId? reached);
        _build = new ScrubBuild(requester, sequence, deep, reached, objects);
        QueueScrubTurn(0);
    }

    // One turn: up to the next piece that costs something, which gets a turn of its own.
    // Returns false if a read goes on.
    private bool ContinueBuild(ScrubBuild build)
    {
        bool worked = false;
        while (true)
        {
            if (!build.InObject)
            {
                if (build.Next == build.Objects.Count)
                {
                    FinishBuild(build);
                    return true;
                }

                BeginObject(build, build.Objects[build.Next++]);
            }
            else if (build.OmapFrom is not null || (build.Deep && build.Offset < build.Entry.Size && build.Entry.IsReadable))
            {
                if (worked)
                {
                    QueueNextTurn(build, 0);
                    return true;
                }

                worked = true;
                if (build.OmapFrom is not null)
                {
                    DigestOmap(build);
                }
                else if (!DigestData(build))
                {
                    return false;
                }
            }
            else
            {
                build.Entries.Add(build.Entry);
                build.InObject = false;
            }
        }
    }

    // The item that runs now is not free before it has ended.
    private void QueueNextTurn(ScrubBuild build, int bytes)
    {
        if (_scrubTurn is { IsRunning: true } turn)
        {
            _host.Finish(turn);
        }

        if (ReferenceEquals(_build, build))
        {
            QueueScrubTurn(bytes);
        }
    }

    private void BeginObject(ScrubBuild build, ObjectId id)
    {
        if (!_host.Store.TryStat(_collection, id, out long size))
        {
            return;
        }

        uint attributes = 0;
        PgVersion version = PgVersion.Zero;
        var flags = ScrubEntryFlags.NoVersion;
        foreach ((string name, ReadOnlyMemory<byte> value) in _host.Store.GetAttributes(_collection, id))
        {
            if (name == VersionAttribute)
            {
                flags &= TryReadVersion(value.Span, out version) ? ~ScrubEntryFlags.NoVersion : ~ScrubEntryFlags.None;
                continue;
            }

            if (name == SnapSet.Attribute && id.Snapshot == ObjectId.NoSnapshot && IsTombstone(value))
            {
                flags |= ScrubEntryFlags.Tombstone;
            }

            attributes = Crc32C.Compute(Encoding.UTF8.GetBytes(name), attributes);
            attributes = DigestLengths(attributes, name.Length, value.Length);
            attributes = Crc32C.Compute(value.Span, attributes);
        }

        build.Entry = new ScrubEntry(id, version, size, attributes, 0, 0, flags);
        build.InObject = true;
        build.Offset = 0;
        build.NextExtent = 0;
        build.OmapFrom = build.Deep ? [] : null;
        if (build.Deep)
        {
            _host.Store.ListExtents(_collection, id, 0, size, build.Extents);
        }
    }

    private static bool IsTombstone(ReadOnlyMemory<byte> packed)
    {
        try
        {
            return SnapSet.Peek(packed).IsTombstone;
        }
        catch (MalformedDataException)
        {
            return false; // the comparison tells
        }
    }

    private static bool TryReadVersion(ReadOnlySpan<byte> value, out PgVersion version)
    {
        version = PgVersion.Zero;
        if (value.Length != 13 || value[0] != 1)
        {
            return false;
        }

        var reader = new WireReader(value[1..]);
        version = reader.ReadPgVersion();
        return version != PgVersion.Zero;
    }

    private static uint DigestLengths(uint digest, int first, int second)
    {
        Span<byte> lengths = stackalloc byte[8];
        System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(lengths, first);
        System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(lengths[4..], second);
        return Crc32C.Compute(lengths, digest);
    }

    private void DigestOmap(ScrubBuild build)
    {
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        bool more = _host.Store.ListOmap(_collection, build.Object, build.OmapFrom, ScrubOmapEntries, entries);
        uint digest = build.Entry.Omap;
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in entries)
        {
            digest = DigestLengths(digest, key.Length, value.Length);
            digest = Crc32C.Compute(key.Span, digest);
            digest = Crc32C.Compute(value.Span, digest);
        }

        build.Entry = build.Entry with { Omap = digest };
        build.OmapFrom = more ? [.. entries[^1].Key.Span, 0] : null;
    }

    // Returns false if a read goes on.
    private bool DigestData(ScrubBuild build)
    {
        while (build.NextExtent < build.Extents.Count && build.Offset >= build.Extents[build.NextExtent].Offset + build.Extents[build.NextExtent].Length)
        {
            build.NextExtent++;
        }

        long dataAt = build.NextExtent < build.Extents.Count ? build.Extents[build.NextExtent].Offset : build.Entry.Size;
        if (build.Offset < dataAt)
        {
            long left = Math.Min(dataAt - build.Offset, ScrubHoleBytes);
            build.Offset += left;
            uint digest = build.Entry.Data;
            for (; left > 0; left -= s_zeroes.Length)
            {
                digest = Crc32C.Compute(s_zeroes.AsSpan(0, (int)Math.Min(left, s_zeroes.Length)), digest);
            }

            build.Entry = build.Entry with { Data = digest };
            return true;
        }

        DataExtent extent = build.Extents[build.NextExtent];
        int length = (int)Math.Min(ScrubReadBytes, Math.Min(extent.Offset + extent.Length, build.Entry.Size) - build.Offset);
        StartRead(build, 0, build.Object, build.Offset, length);
        return false;
    }

    private void OnScrubRead(ScrubBuild build, ReadStatus status, BufferSegment data)
    {
        if (status == ReadStatus.Ok && data.Length > 0)
        {
            build.Entry = build.Entry with { Data = Crc32C.Compute(data.Span, build.Entry.Data) };
            build.Offset += data.Length;
        }
        else
        {
            build.Entry = build.Entry with { Data = 0, Flags = build.Entry.Flags | ScrubEntryFlags.ReadError };
        }

        int length = data.Length;
        data.Buffer?.Release();
        if (!_removed && ReferenceEquals(_build, build))
        {
            _host.Counters.ScrubbedBytes += length;
            QueueNextTurn(build, (int)Math.Min(ScrubReadBytes, Math.Max(0, build.Entry.Size - build.Offset)));
        }
    }

    private void FinishBuild(ScrubBuild build)
    {
        _build = null;
        var map = new ScrubMap(build.Entries, build.End);
        if (build.Requester == _host.Self)
        {
            OnScrubMap(_host.Self, build.Sequence, map);
            return;
        }

        _scrubHeardAt = _host.Now;
        WireWriter body = Begin();
        body.WriteUInt64(build.Sequence);
        map.Encode(body);
        _host.Answer(build.Requester, OsdMessageType.ScrubMapReply, body);
    }

    private void HandleScrubReserve(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        bool want = reader.ReadBoolean();
        if (from != Primary || !_replicaActive)
        {
            return;
        }

        if (!want)
        {
            ReleaseScrubReservation();
            return;
        }

        _scrubReserved = _scrubReserved || _host.TryReserveScrub(Id);
        _scrubHeardAt = _host.Now;
        WireWriter body = Begin();
        body.WriteUInt64(sequence);
        body.WriteBoolean(_scrubReserved);
        _host.Answer(from, OsdMessageType.ScrubReserveReply, body);
    }

    private void ReleaseScrubReservation()
    {
        DropBuild();
        if (_scrubReserved)
        {
            _scrubReserved = false;
            _host.ReleaseScrub(Id);
        }
    }

    private void HandleScrubMapRequest(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        bool deep = reader.ReadBoolean();
        ObjectId? after = ReadCursor(ref reader);
        ObjectId? end = ReadCursor(ref reader);
        if (from != Primary || !_replicaActive || _build is { } build && build.Sequence == sequence)
        {
            return; // or it is under way already
        }

        _scrubHeardAt = _host.Now;
        StartBuild(from, sequence, deep, after, end);
    }

    // A primary that no longer says anything has given the scrub up.
    private void TickScrubReservation()
    {
        if (_scrubReserved && _host.Now - _scrubHeardAt > _host.Options.ScrubTimeout)
        {
            ReleaseScrubReservation();
        }
    }
}

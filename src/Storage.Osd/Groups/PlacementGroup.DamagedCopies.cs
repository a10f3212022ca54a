using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// What whoever is asked does for a primary that mends an object: tells which blocks of its copy cannot be read, sends blocks, and takes those that fit.
internal sealed partial class PlacementGroup
{
    private const int DamageScanBytes = 64 << 10;

    // Reads the whole of a copy, to find what cannot be read.
    private sealed class DamageScan(OsdId asker, ObjectId id, PgVersion version, Epoch interval)
    {
        public OsdId Asker { get; } = asker;

        public ObjectId Object { get; } = id;

        public PgVersion Version { get; } = version;

        public Epoch Interval { get; } = interval;

        public readonly Queue<DataExtent> Ranges = new();

        public readonly List<uint> Damaged = [];

        public DataExtent Current;

        public bool Running;

        public bool Reading;
    }

    // Reads blocks of a copy for whoever mends another one.
    private sealed class BlockFetch(OsdId asker, ObjectId wanted, PgVersion version, List<uint> blocks, Epoch interval)
    {
        public OsdId Asker { get; } = asker;

        public ObjectId Wanted { get; } = wanted;

        /// <summary>The version of the copy, Zero if nothing is to be concluded from it.</summary>
        public PgVersion Version { get; } = version;

        public List<uint> Blocks { get; } = blocks;

        public Epoch Interval { get; } = interval;

        public readonly BufferSegment[] Data = new BufferSegment[blocks.Count];

        public int Pending = 1;
    }

    private void HandleDamageRequest(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        if (from == Primary)
        {
            ScanForDamage(from, id, version);
        }
    }

    private void ScanForDamage(OsdId asker, ObjectId id, PgVersion version)
    {
        var scan = new DamageScan(asker, id, version, _history.SameIntervalSince);
        if (LocalVersion(id) != version || !_host.Store.TryStat(_collection, id, out long size))
        {
            FinishDamageScan(scan, false);
            return;
        }

        var extents = new List<DataExtent>();
        _host.Store.ListExtents(_collection, id, 0, size, extents);
        foreach (DataExtent extent in extents)
        {
            for (long offset = extent.Offset; offset < extent.Offset + extent.Length; offset += DamageScanBytes)
            {
                scan.Ranges.Enqueue(new DataExtent(offset, Math.Min(DamageScanBytes, extent.Offset + extent.Length - offset)));
            }
        }

        ContinueDamageScan(scan);
    }

    private void ContinueDamageScan(DamageScan scan)
    {
        if (scan.Running)
        {
            return; // the loop below goes on
        }

        scan.Running = true;
        while (!scan.Reading && scan.Ranges.TryDequeue(out scan.Current))
        {
            scan.Reading = true;
            StartRead(scan, 0, scan.Object, scan.Current.Offset, (int)scan.Current.Length);
        }

        scan.Running = false;
        if (!scan.Reading)
        {
            FinishDamageScan(scan, true);
        }
    }

    private void OnDamageScanRead(DamageScan scan, ReadStatus status, BufferSegment data)
    {
        data.Buffer?.Release();
        scan.Reading = false;
        if (_removed || scan.Interval != _history.SameIntervalSince)
        {
            return;
        }

        if (status == ReadStatus.NotFound)
        {
            FinishDamageScan(scan, false);
            return;
        }

        if (status != ReadStatus.Ok)
        {
            if (scan.Current.Length <= StoreLimits.BlockSize)
            {
                scan.Damaged.Add((uint)(scan.Current.Offset / StoreLimits.BlockSize));
            }
            else
            {
                for (long offset = 0; offset < scan.Current.Length; offset += StoreLimits.BlockSize)
                {
                    scan.Ranges.Enqueue(new DataExtent(scan.Current.Offset + offset, Math.Min(StoreLimits.BlockSize, scan.Current.Length - offset)));
                }
            }
        }

        ContinueDamageScan(scan);
    }

    private void FinishDamageScan(DamageScan scan, bool exists)
    {
        bool whole = exists && scan.Damaged.Count == 0;
        if (whole && _damaged.Contains(scan.Object) && _missing.TryGetValue(scan.Object, out PgVersion need) && need == scan.Version)
        {
            ClearMissing(_transaction, scan.Object);
            if (_receiving.Remove(scan.Object))
            {
                ForgetPart(_transaction, scan.Object); // what another copy sent before it turned out to be damaged too
            }

            PersistInfo(_transaction);
            SubmitMeta(_transaction);
            _host.StateChanged();
        }

        if (scan.Damaged.Count > 0)
        {
            MarkDamaged(scan.Object);
        }

        scan.Damaged.Sort();
        List<uint> damaged = scan.Damaged.GetRange(0, Math.Min(scan.Damaged.Count, MostMendedBlocks * 4));
        whole = whole && !_missing.ContainsKey(scan.Object);
        if (scan.Asker == _host.Self)
        {
            OnDamageKnown(_host.Self, scan.Object, scan.Version, whole, damaged);
            return;
        }

        WireWriter body = Begin();
        scan.Object.Encode(body);
        body.WriteVersion(scan.Version);
        body.WriteBoolean(whole);
        WriteBlocks(body, damaged);
        _host.Answer(scan.Asker, OsdMessageType.DamageReply, body);
    }

    private static void WriteBlocks(WireWriter body, List<uint> blocks)
    {
        body.WriteInt32(blocks.Count);
        foreach (uint block in blocks)
        {
            body.WriteUInt32(block);
        }
    }

    private static List<uint> ReadBlocks(ref WireReader reader)
    {
        int count = reader.ReadCount(4);
        var blocks = new List<uint>(count);
        for (int i = 0; i < count; i++)
        {
            blocks.Add(reader.ReadUInt32());
        }

        return blocks;
    }

    // A clone shares its bytes with the object that it was made of, which may not have been cloned elsewhere.
    private static int CandidatesOf(ObjectId id) => id.Snapshot == ObjectId.NoSnapshot ? 1 : 2;

    private static ObjectId CandidateOf(ObjectId id, int candidate) => candidate == 0 ? id : id.WithSnapshot(ObjectId.NoSnapshot);

    private void HandleBlocksRequest(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        int candidate = reader.ReadByte();
        List<uint> blocks = ReadBlocks(ref reader);
        if (from == Primary && blocks.Count <= MostMendedBlocks && candidate < CandidatesOf(id))
        {
            FetchBlocks(from, id, candidate, blocks);
        }
    }

    private void FetchBlocks(OsdId asker, ObjectId id, int candidate, List<uint> blocks)
    {
        // A copy that is missing for any other reason than damage may be anything.
        bool isVersion = candidate == 0 && (!_missing.TryGetValue(id, out PgVersion need) || (_damaged.Contains(id) && need == LocalVersion(id)) || need > LocalVersion(id));
        var fetch = new BlockFetch(asker, id, isVersion ? LocalVersion(id) : PgVersion.Zero, blocks, _history.SameIntervalSince);
        for (int i = 0; i < blocks.Count; i++)
        {
            fetch.Pending++;
            StartRead(fetch, i, CandidateOf(id, candidate), (long)blocks[i] * StoreLimits.BlockSize, StoreLimits.BlockSize);
        }

        EndFetchRead(fetch);
    }

    private void OnFetchRead(BlockFetch fetch, int index, ReadStatus status, BufferSegment data)
    {
        if (status == ReadStatus.Ok)
        {
            fetch.Data[index] = data;
        }

        EndFetchRead(fetch);
    }

    private void EndFetchRead(BlockFetch fetch)
    {
        if (--fetch.Pending > 0)
        {
            return;
        }

        if (!_removed && fetch.Interval == _history.SameIntervalSince)
        {
            var found = new List<(uint Block, BufferSegment Data)>();
            for (int i = 0; i < fetch.Blocks.Count; i++)
            {
                if (!fetch.Data[i].IsEmpty)
                {
                    found.Add((fetch.Blocks[i], fetch.Data[i]));
                }
            }

            if (fetch.Asker == _host.Self)
            {
                OnBlocksFound(_host.Self, fetch.Wanted, fetch.Version, found);
            }
            else
            {
                SendBlocks(fetch.Asker, OsdMessageType.BlocksReply, fetch.Wanted, fetch.Version, null, found);
            }
        }

        ReleaseData(fetch.Data);
    }

    private void SendBlocks(OsdId to, Storage.Messaging.MessageType type, ObjectId id, PgVersion version, TouchedRange? touched, List<(uint Block, BufferSegment Data)> found)
    {
        WireWriter body = Begin();
        id.Encode(body);
        body.WriteVersion(version);
        if (touched is { } range)
        {
            body.WriteInt64(range.From);
            body.WriteInt64(range.To);
        }

        body.WriteInt32(found.Count);
        var data = new BufferSegment[found.Count];
        for (int i = 0; i < found.Count; i++)
        {
            body.WriteUInt32(found[i].Block);
            body.WriteInt32(found[i].Data.Length);
            data[i] = found[i].Data;
        }

        if (IsPrimary)
        {
            _host.Send(to, type, body, data);
        }
        else
        {
            _host.Answer(to, type, body, data);
        }
    }

    private static TouchedRange ReadTouched(ref WireReader reader) => new(reader.ReadInt64(), reader.ReadInt64());

    // The segments are parts of the message's data, without references of their own.
    private List<(uint Block, BufferSegment Data)> ReadFound(ref WireReader reader, BufferSegment data)
    {
        int count = reader.ReadCount(8);
        var found = new List<(uint Block, BufferSegment Data)>(count);
        int used = 0;
        for (int i = 0; i < count; i++)
        {
            uint block = reader.ReadUInt32();
            int length = reader.ReadInt32();
            if (length is < 1 or > StoreLimits.BlockSize || length > data.Length - used)
            {
                throw new MalformedDataException($"pg {Id}: a block of {length} bytes, and {data.Length - used} bytes of data are left");
            }

            found.Add((block, data.Slice(used, length)));
            used += length;
        }

        return found;
    }

    private void HandleMend(OsdId from, ref WireReader reader, BufferSegment data)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        TouchedRange touched = ReadTouched(ref reader);
        List<(uint Block, BufferSegment Data)> found = ReadFound(ref reader, data);
        if (from == Primary)
        {
            Mend(from, id, version, touched, found);
        }
    }

    private void Mend(OsdId asker, ObjectId id, PgVersion version, TouchedRange touched, List<(uint Block, BufferSegment Data)> found)
    {
        if (LocalVersion(id) == version)
        {
            int mended = 0;
            foreach ((uint block, BufferSegment data) in found)
            {
                PageBuffer page = BufferPool.Shared.Rent(StoreLimits.BlockSize);
                BufferSegment content = page.Slice(0, StoreLimits.BlockSize);
                content.Span.Clear();
                data.Span.CopyTo(content.Span);
                mended += _host.Store.TryMend(_collection, id, (long)block * StoreLimits.BlockSize, content, touched.From, touched.To, _transaction) ? 1 : 0;
                page.Release();
            }

            if (mended > 0)
            {
                _host.Reached(RarePath.BlocksMended);
                if (TrySubmit(_transaction, CommitKind.Mended, asker, version, id))
                {
                    return; // how it stands is told once that is durable
                }
            }
        }

        ScanForDamage(asker, id, version);
    }
}

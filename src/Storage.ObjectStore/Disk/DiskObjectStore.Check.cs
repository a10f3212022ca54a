using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Metadata;
using Storage.ObjectStore.Offline;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// fsck: what the database says against itself, against the space in use and against the data.
public sealed partial class DiskObjectStore
{
    /// <summary>
    /// Checks everything the store holds. For a store that nobody else uses: opened (which replays its journal), idle.
    /// </summary>
    /// <param name="readData">Read every block and compare its checksum.</param>
    /// <param name="repair">Remove records that belong to no object. Damaged data stays: the OSD gets it from other copies by scrub.</param>
    /// <param name="problem">Told of each finding.</param>
    /// <returns>The sums; completes on the loop.</returns>
    public async Task<StoreCheckReport> CheckAsync(bool readData, bool repair, Action<string> problem)
    {
        ArgumentNullException.ThrowIfNull(problem);
        await CheckpointAsync();
        var report = new StoreCheckReport();
        var orphans = new List<byte[]>();
        var objects = new Dictionary<ulong, (CollectionId Collection, ObjectId Id, int Chunks)>();
        var omaps = new HashSet<ulong>();
        CheckObjects(report, objects, omaps, problem);
        var references = new Dictionary<uint, int>();
        var reads = new List<(uint Unit, uint Checksum, ulong Number, long Block)>();
        var blobs = new List<(ChunkBlob Slot, ulong Number, int Chunk)>();
        CheckChunks(report, objects, references, reads, blobs, orphans, problem);
        CheckOmaps(report, omaps, orphans, problem);
        CheckLogs(report, orphans, problem);
        if (references.Count + _overlayBlocks - _homes > _space.Allocated || (_overlayBlocks == 0 && references.Count != _space.Allocated - _freed.Count - _freeing.Count - _releasing))
        {
            report.Errors++;
            problem($"{references.Count} units are referred to, {_space.Allocated} are in use");
        }

        if (readData)
        {
            await CheckDataAsync(report, reads, objects, problem);
            await CheckBlobsAsync(report, blobs, objects, problem);
        }

        if (repair && orphans.Count > 0)
        {
            using var batch = new MetadataBatch();
            foreach (byte[] key in orphans)
            {
                batch.Delete(key);
            }

            _database.WriteAndFlush(batch);
            report.OrphansRemoved = orphans.Count;
        }

        return report;
    }

    private void CheckObjects(StoreCheckReport report, Dictionary<ulong, (CollectionId, ObjectId, int)> objects, HashSet<ulong> omaps, Action<string> problem)
    {
        foreach (DiskCollection collection in _collections.Values)
        {
            report.Collections += collection.Exists ? 1 : 0;
        }

        using MetadataIterator at = _database.Iterate();
        for (at.Seek([MetadataKeys.ObjectPrefix]); at.IsValid && at.Key[0] == MetadataKeys.ObjectPrefix; at.Next())
        {
            CollectionId collection = MetadataKeys.ReadCollection(at.Key);
            ObjectId id = MetadataKeys.ReadObject(at.Key);
            report.Objects++;
            if (FindCollection(collection) is not { } found)
            {
                report.Errors++;
                problem($"{collection}/{id}: there is no such collection");
                continue;
            }

            var onode = new Onode(found, id);
            try
            {
                OnodeFormat.Read(at.Value, onode);
            }
            catch (MalformedDataException error)
            {
                report.Errors++;
                problem($"{collection}/{id}: {error.Message}");
                continue;
            }

            if (onode.Number == 0 || onode.Number > _lastNumber || !objects.TryAdd(onode.Number, (collection, id, onode.PersistedChunks)))
            {
                report.Errors++;
                problem($"{collection}/{id}: number {onode.Number} is not its own");
            }

            if (onode.OmapNumber != 0 && !omaps.Add(onode.OmapNumber))
            {
                report.Errors++;
                problem($"{collection}/{id}: omap {onode.OmapNumber} is not its own");
            }
        }
    }

    private void CheckChunks(
        StoreCheckReport report,
        Dictionary<ulong, (CollectionId Collection, ObjectId Id, int Chunks)> objects,
        Dictionary<uint, int> references,
        List<(uint Unit, uint Checksum, ulong Number, long Block)> reads,
        List<(ChunkBlob Slot, ulong Number, int Chunk)> blobs,
        List<byte[]> orphans,
        Action<string> problem)
    {
        uint[] units = new uint[Chunk.Blocks];
        uint[] checksums = new uint[Chunk.Blocks];
        var found = new List<ChunkBlob>();
        using MetadataIterator at = _database.Iterate();
        for (at.Seek([MetadataKeys.ChunkPrefix]); at.IsValid && at.Key[0] == MetadataKeys.ChunkPrefix; at.Next())
        {
            ulong number = BinaryPrimitives.ReadUInt64BigEndian(at.Key[1..]);
            int index = BinaryPrimitives.ReadInt32BigEndian(at.Key[9..]);
            if (!objects.TryGetValue(number, out (CollectionId Collection, ObjectId Id, int Chunks) owner) || index >= owner.Chunks)
            {
                report.Orphans++;
                orphans.Add(at.Key.ToArray());
                problem($"block map {index} of object number {number} belongs to no object");
                continue;
            }

            Array.Clear(units);
            found.Clear();
            ChunkFormat.Read(at.Value, units, checksums, null, found); // what cannot be read was refused at mount
            foreach (ChunkBlob slot in found)
            {
                CheckBlobUnits(report, slot, $"{owner.Collection}/{owner.Id}: compressed blocks from {(index * Chunk.Blocks) + slot.First} on", references, problem);
                blobs.Add((slot, number, index));
            }

            for (int block = 0; block < Chunk.Blocks; block++)
            {
                uint unit = units[block];
                if (unit == 0)
                {
                    continue;
                }

                report.Blocks++;
                if (unit > _super.DataUnits || !_space.IsUsed(unit))
                {
                    report.Errors++;
                    problem($"{owner.Collection}/{owner.Id}: block {index * Chunk.Blocks + block} lies in unit {unit}, which is {(unit > _super.DataUnits ? "beyond the disk" : "free")}");
                    continue;
                }

                System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(references, unit, out _)++;
                reads.Add((unit, checksums[block], number, (long)index * Chunk.Blocks + block));
            }
        }
    }

    private void CheckOmaps(StoreCheckReport report, HashSet<ulong> omaps, List<byte[]> orphans, Action<string> problem)
    {
        using MetadataIterator at = _database.Iterate();
        for (at.Seek([MetadataKeys.OmapPrefix]); at.IsValid && at.Key[0] == MetadataKeys.OmapPrefix; at.Next())
        {
            ulong omap = BinaryPrimitives.ReadUInt64BigEndian(at.Key[1..]);
            if (omaps.Contains(omap))
            {
                report.OmapEntries++;
                continue;
            }

            report.Orphans++;
            orphans.Add(at.Key.ToArray());
            problem($"an entry of omap {omap} belongs to no object");
        }
    }

    private void CheckLogs(StoreCheckReport report, List<byte[]> orphans, Action<string> problem)
    {
        var logs = new Dictionary<ulong, DiskCollection>();
        foreach (DiskCollection collection in _collections.Values)
        {
            if (collection.Exists && collection.Log.Number != 0)
            {
                report.LogRecords += collection.Log.Next - collection.Log.First;
                if (!logs.TryAdd(collection.Log.Number, collection))
                {
                    report.Errors++;
                    problem($"{collection.Id}: log {collection.Log.Number} is not its own");
                }
            }
        }

        using MetadataIterator at = _database.Iterate();
        for (at.Seek([MetadataKeys.LogPrefix]); at.IsValid && at.Key[0] == MetadataKeys.LogPrefix; at.Next())
        {
            (ulong number, long first) = MetadataKeys.ReadLog(at.Key);
            if (!logs.TryGetValue(number, out DiskCollection? owner) || !owner.Log.Segments.Exists(segment => segment.First == first))
            {
                report.Orphans++;
                orphans.Add(at.Key.ToArray());
                problem($"records from {first} on of log {number} belong to no collection");
            }
        }
    }

    private async Task CheckDataAsync(
        StoreCheckReport report,
        List<(uint Unit, uint Checksum, ulong Number, long Block)> reads,
        Dictionary<ulong, (CollectionId Collection, ObjectId Id, int Chunks)> objects,
        Action<string> problem)
    {
        const int Window = 256;
        reads.Sort(static (a, b) => a.Unit.CompareTo(b.Unit));
        PageBuffer buffer = _pool.Rent(Window * BlockSize);
        try
        {
            for (int from = 0; from < reads.Count;)
            {
                uint first = reads[from].Unit;
                int to = from;
                while (to < reads.Count && reads[to].Unit < first + Window)
                {
                    to++;
                }

                int length = (int)(reads[to - 1].Unit - first + 1) * BlockSize;
                var io = new AwaitableCompletion();
                _device.Read(UnitOffset(first), buffer.Slice(0, length), io);
                int got = await io.Task;
                for (int i = from; i < to; i++)
                {
                    int offset = (int)(reads[i].Unit - first) * BlockSize;
                    if (offset + BlockSize <= got && Crc32C.Compute(buffer.Span.Slice(offset, BlockSize)) == reads[i].Checksum)
                    {
                        report.BlocksVerified++;
                        continue;
                    }

                    report.BlocksDamaged++;
                    (CollectionId collection, ObjectId id, _) = objects[reads[i].Number];
                    problem($"{collection}/{id}: bytes {reads[i].Block * BlockSize} to {(reads[i].Block + 1) * BlockSize} {(got < 0 ? $"cannot be read ({new IoError(-got)})" : "fail their checksum")}");
                }

                from = to;
            }
        }
        finally
        {
            buffer.Release();
        }
    }
}

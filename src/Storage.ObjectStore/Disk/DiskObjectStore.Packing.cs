using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.ObjectStore.Compression;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Writes on their way through compression. The transaction is applied at once, with the write as plain blocks in units of their own, and its batch waits for the
// threads. When they are done, the write becomes blobs in the first of its units and the rest is free again, in the map and in the batch alike; unless something
// happened to the blocks meanwhile, or a checkpoint wrote them down: then it stays what it is. Either way the order of transactions is that of their submission.
public sealed partial class DiskObjectStore
{
    private readonly List<PackJob> _packing = [];
    private readonly List<DirectRun> _packedRuns = [];
    private readonly List<uint> _packedChecksums = [];
    private readonly WireWriter _packedMeta = new(1024);
    private readonly Action<object?> _packed;
    private readonly Action<object?> _packInline;

    /// <summary>Room in the record of a write for all that may have to be said of it once it is compressed.</summary>
    private static int PackedMetaLength(int blocks, int runs)
    {
        const int Head = 12;
        const int Run = 9;
        const int BlobHead = 19;
        int parts = (blocks / Blob.MostBlocks) + 2;
        return Head + (sizeof(uint) * blocks) + (Run * (runs + (2 * parts) + 1)) + (BlobHead * parts);
    }

    private PackJob PlanPacked(long pool, CompressionSettings settings, long first, int blocks, int runStart, int checksumStart)
    {
        var job = new PackJob(_loop, _packed, settings, pool) { FirstBlock = first, MetaLength = PackedMetaLength(blocks, _runs.Count - runStart) };
        _meta.WriteInt32(blocks | HasBlobs | HasRoom);
        _meta.WriteInt32(job.MetaLength);
        job.MetaAt = _meta.Length;
        WriteRuns(_meta, first, CollectionsMarshal.AsSpan(_runs)[runStart..], CollectionsMarshal.AsSpan(_checksums)[checksumStart..], mayBeBlobs: true);
        _meta.Reserve(job.MetaAt + job.MetaLength - _meta.Length).Clear();
        return job;
    }

    /// <summary>Sends a write that was applied to be compressed.</summary>
    private void StartPacking(PackJob job, JournalBatch batch, int recordAt, BufferSegment data, ReadOnlySpan<DirectRun> runs, ReadOnlySpan<uint> checksums)
    {
        job.MetaAt += recordAt;
        data.Buffer!.Retain();
        job.Prepare(batch, data, runs, checksums, _pool.Rent(data.Length));
        _packing.Add(job);
        batch.PendingData++;
        if (_options.InlineCompression)
        {
            _loop.Post(_packInline, job);
        }
        else
        {
            job.Start(PackThreads.Shared);
        }
    }

    // For tests: a part in each pass of the loop.
    private void PackInline(PackJob job)
    {
        if (job.RunPiece(_packer, 1))
        {
            _loop.Post(_packInline, job);
        }
    }

    private void EndPacking(PackJob job)
    {
        _packing.Remove(job);
        if (_closed || _failure is not null)
        {
            job.Release();
            RetryWaitingReads();
            return;
        }

        JournalBatch batch = job.Batch!;
        _packedRuns.Clear();
        if (!job.IsFixed && IsUntouched(job) && PlaceParts(job))
        {
            InstallPacked(job);
            _packedMeta.Clear();
            WriteRuns(_packedMeta, job.FirstBlock, CollectionsMarshal.AsSpan(_packedRuns), CollectionsMarshal.AsSpan(_packedChecksums), mayBeBlobs: true);
            Span<byte> room = batch.Span.Slice(job.MetaAt, job.MetaLength);
            _packedMeta.WrittenSpan.CopyTo(room);
            room[_packedMeta.Length..].Clear();
            StartDirectWrites(batch, CollectionsMarshal.AsSpan(_packedRuns), job.Data, job.Packed);
        }
        else
        {
            StartDirectWrites(batch, job.Runs, job.Data, null);
        }

        job.Release();
        batch.PendingData--; // its writes are counted by now
    }

    /// <summary>Before a snapshot: what is not compressed yet is written down as it is, and stays so.</summary>
    private void FixPacking()
    {
        foreach (PackJob job in _packing)
        {
            job.Fix();
        }
    }

    /// <summary>True if the write's blocks are still where it put them, and nobody else's.</summary>
    private bool IsUntouched(PackJob job)
    {
        long block = job.FirstBlock;
        foreach (DirectRun run in job.Runs)
        {
            for (uint i = 0; i < run.Count; i++, block++)
            {
                Chunk chunk = ChunkOf(job, block);
                if (chunk.Owner is null || chunk.Units[(int)(block % Chunk.Blocks)] != run.Start + i || !_space.IsExclusive(run.Start + i))
                {
                    return false;
                }
            }
        }

        return true;
    }

    private static Chunk ChunkOf(PackJob job, long block) => job.Chunks[(int)((block / Chunk.Blocks) - (job.FirstBlock / Chunk.Blocks))];

    /// <summary>Divides the write's units among blobs and what is not compressed, and frees those left over; false if there is no blob.</summary>
    private bool PlaceParts(PackJob job)
    {
        var free = new UnitCursor(job.Runs);
        int next = 0;
        bool any = false;
        foreach (ref readonly PackPart part in job.Parts)
        {
            if (part.Checksums is not { } checksums)
            {
                continue;
            }

            free.TakePlain(part.Start - next, _packedRuns);
            next = part.Start;
            if (free.TryTakeWhole((uint)checksums.Length, out uint unit)) // where the space is in pieces, it stays as it is
            {
                var blob = new Blob(job.Pool, job.Settings.Algorithm, part.Blocks, part.Length, unit, checksums);
                _packedRuns.Add(new DirectRun(unit, (uint)checksums.Length, blob, part.PackedAt));
                next += part.Blocks;
                any = true;
            }
        }

        if (any)
        {
            free.TakePlain((job.Data.Length / BlockSize) - next, _packedRuns);
            free.FreeRest(_space);
        }

        return any;
    }

    private void InstallPacked(PackJob job)
    {
        _packedChecksums.Clear();
        long block = job.FirstBlock;
        foreach (DirectRun run in _packedRuns)
        {
            if (run.Blob is { } blob)
            {
                Chunk chunk = ChunkOf(job, block);
                int first = (int)(block % Chunk.Blocks);
                chunk.Units.Slice(first, blob.Blocks).Clear();
                AddSlot(chunk, new ChunkBlob(blob, first, ((1UL << blob.Blocks) - 1) << first));
                Account(blob, 1);
                MarkDirty(chunk);
                block += blob.Blocks;
                continue;
            }

            for (uint i = 0; i < run.Count; i++, block++)
            {
                Chunk chunk = ChunkOf(job, block);
                int index = (int)(block % Chunk.Blocks);
                chunk.Units[index] = run.Start + i;
                _packedChecksums.Add(job.Checksums[(int)(block - job.FirstBlock)]);
                MarkDirty(chunk);
            }
        }
    }

    private bool IsBeingPacked(uint unit)
    {
        foreach (PackJob job in _packing)
        {
            foreach (DirectRun run in job.Runs)
            {
                if (unit - run.Start < run.Count)
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Goes through the units of a write.</summary>
    private ref struct UnitCursor(ReadOnlySpan<DirectRun> runs)
    {
        private readonly ReadOnlySpan<DirectRun> _runs = runs;
        private int _run;
        private uint _used; // of that run

        public void TakePlain(int blocks, List<DirectRun> taken)
        {
            while (blocks > 0)
            {
                DirectRun run = Current();
                uint count = Math.Min((uint)blocks, run.Count - _used);
                taken.Add(new DirectRun(run.Start + _used, count));
                _used += count;
                blocks -= (int)count;
            }
        }

        public bool TryTakeWhole(uint units, out uint unit)
        {
            DirectRun run = Current();
            unit = run.Start + _used;
            if (run.Count - _used < units)
            {
                return false;
            }

            _used += units;
            return true;
        }

        public void FreeRest(SpaceMap space)
        {
            for (; _run < _runs.Length; _run++, _used = 0)
            {
                for (; _used < _runs[_run].Count; _used++)
                {
                    space.Free(_runs[_run].Start + _used);
                }
            }
        }

        private DirectRun Current()
        {
            if (_used == _runs[_run].Count)
            {
                _run++;
                _used = 0;
            }

            return _runs[_run];
        }
    }
}

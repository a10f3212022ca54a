using System.Runtime.InteropServices;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>The part of a Write step that went straight to newly allocated space; Blocks is 0 if none did.</summary>
/// <param name="FirstBlock">First block of the object.</param>
/// <param name="Blocks">Blocks.</param>
/// <param name="RunStart">Its first run.</param>
/// <param name="RunCount">Its runs.</param>
/// <param name="ChecksumStart">The checksum of its first block that is not compressed.</param>
/// <param name="Job">Its compression, which begins once the transaction is applied; null if it stays plain.</param>
internal readonly record struct DirectWrite(long FirstBlock, int Blocks, int RunStart, int RunCount, int ChecksumStart, PackJob? Job = null);

/// <summary>Units one behind the other: as many blocks, or one blob.</summary>
/// <param name="Start">The first unit.</param>
/// <param name="Count">Units.</param>
/// <param name="Blob">What lies there, if it is compressed.</param>
/// <param name="PackedAt">Where in the write's packed bytes.</param>
internal readonly record struct DirectRun(uint Start, uint Count, Blob? Blob = null, int PackedAt = 0)
{
    /// <summary>Blocks of the object that it holds.</summary>
    public int Blocks => Blob?.Blocks ?? (int)Count;
}

// Large writes: they go to free space before the batch that tells of them.
public sealed partial class DiskObjectStore
{
    // In the journal, beside the number of blocks: runs say whether they are blobs, and take less than the room whose length stands before them.
    private const int HasBlobs = 1 << 30;
    private const int HasRoom = 1 << 29;

    private int DirectRange(in TransactionStep step, out long first)
    {
        first = (step.Offset + BlockSize - 1) / BlockSize;
        long blocks = (step.Offset + step.Length) / BlockSize - first;
        return blocks * BlockSize >= _options.DirectWriteBytes ? (int)blocks : 0;
    }

    private void PlanWrite(in TransactionStep step)
    {
        int blocks = DirectRange(in step, out long first);
        int runStart = _runs.Count;
        int checksumStart = _checksums.Count;
        PackJob? job = null;
        if (blocks == 0)
        {
            _meta.WriteInt32(0);
        }
        else
        {
            PlanRaw(step.Data.Slice((int)(first * BlockSize - step.Offset), blocks * BlockSize));
            if (_compressions.Count > 0 && PackJob.HasParts(first, blocks) && _compressions.TryGetValue(step.Collection.Group.Pool, out CompressionSettings settings))
            {
                job = PlanPacked(step.Collection.Group.Pool, settings, first, blocks, runStart, checksumStart);
            }
            else
            {
                _meta.WriteInt32(blocks);
                WriteRuns(_meta, first, CollectionsMarshal.AsSpan(_runs)[runStart..], CollectionsMarshal.AsSpan(_checksums)[checksumStart..], mayBeBlobs: false);
            }
        }

        _directs.Add(new DirectWrite(first, blocks, runStart, _runs.Count - runStart, checksumStart, job));
    }

    private static void WriteRuns(WireWriter meta, long first, ReadOnlySpan<DirectRun> runs, ReadOnlySpan<uint> checksums, bool mayBeBlobs)
    {
        meta.WriteInt64(first);
        meta.WriteInt32(runs.Length);
        foreach (ref readonly DirectRun run in runs)
        {
            meta.WriteUInt32(run.Start);
            meta.WriteUInt32(run.Count);
            if (mayBeBlobs)
            {
                meta.WriteBoolean(run.Blob is not null);
                run.Blob?.Write(meta);
            }
        }

        foreach (uint checksum in checksums)
        {
            meta.WriteUInt32(checksum);
        }
    }

    /// <summary>Gives blocks their space and checksums, as they are. Checksums that came with the data are not computed again.</summary>
    private void PlanRaw(BufferSegment data)
    {
        int blocks = data.Length / BlockSize;
        PlaceRaw(blocks);
        for (int i = 0; i < blocks; i++)
        {
            _checksums.Add(data.Slice(i * BlockSize, BlockSize).Checksum());
        }
    }

    private void PlaceRaw(int blocks)
    {
        int left = blocks;
        while (left > 0)
        {
            uint got = _space.Allocate((uint)left, out uint start);
            if (got == 0)
            {
                GiveBackRuns();
                throw new StoreFullException($"no room for {blocks} blocks");
            }

            _runs.Add(new DirectRun(start, got));
            left -= (int)got;
        }
    }

    private void GiveBackRuns()
    {
        foreach (DirectRun run in _runs)
        {
            for (uint i = 0; i < run.Count; i++)
            {
                _space.Free(run.Start + i);
            }
        }

        _runs.Clear();
        _directs.Clear();
    }

    private void StartDirectWrites(Transaction transaction, JournalBatch batch, int recordAt)
    {
        int write = 0;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            if (step.Code != TransactionCode.Write)
            {
                continue;
            }

            DirectWrite direct = _directs[write++];
            if (direct.Blocks == 0)
            {
                continue;
            }

            BufferSegment data = step.Data.Slice((int)(direct.FirstBlock * BlockSize - step.Offset), direct.Blocks * BlockSize);
            PageBuffer? aligned = null;
            if (data.Offset % BlockSize != 0)
            {
                aligned = _pool.Rent(data.Length);
                data.Span.CopyTo(aligned.Span);
                data = aligned.Slice(0, data.Length);
            }

            ReadOnlySpan<DirectRun> runs = CollectionsMarshal.AsSpan(_runs).Slice(direct.RunStart, direct.RunCount);
            if (direct.Job is null)
            {
                StartDirectWrites(batch, runs, data, null);
            }
            else
            {
                StartPacking(direct.Job, batch, recordAt, data, runs, CollectionsMarshal.AsSpan(_checksums).Slice(direct.ChecksumStart, direct.Blocks));
            }

            aligned?.Release();
        }
    }

    private void StartDirectWrites(JournalBatch batch, ReadOnlySpan<DirectRun> runs, BufferSegment data, PageBuffer? packed)
    {
        int at = 0;
        for (int r = 0; r < runs.Length; r++)
        {
            DirectRun run = runs[r];
            if (run.Blob is null)
            {
                int bytes = (int)run.Count * BlockSize;
                StartDirectWrite(batch, run.Start, run.Count, data.Slice(at, bytes));
                at += bytes;
                continue;
            }

            // Blobs that lie one behind the other go out as one.
            uint count = run.Count;
            at += run.Blocks * BlockSize;
            while (r + 1 < runs.Length && runs[r + 1] is { Blob: not null } next && next.Start == run.Start + count && next.PackedAt == run.PackedAt + ((int)count * BlockSize))
            {
                count += next.Count;
                at += next.Blocks * BlockSize;
                r++;
            }

            StartDirectWrite(batch, run.Start, count, packed!.Slice(run.PackedAt, (int)count * BlockSize));
        }
    }

    private void StartDirectWrite(JournalBatch batch, uint start, uint count, BufferSegment data)
    {
        DirectCompletion io = _directPool.TryPop(out DirectCompletion? pooled) ? pooled : new DirectCompletion(this);
        io.Start(batch, start, count);
        _directInFlight.Add(io);
        batch.PendingData++;
        _device.Write(UnitOffset(start), data, durable: true, io);
    }

    private long UnitOffset(uint unit) => _super.DataOffset + (long)(unit - 1) * BlockSize;

    private void OnDirectWritten(DirectCompletion io, int result)
    {
        _directInFlight.Remove(io);
        JournalBatch batch = io.Batch!;
        bool good = result == (int)io.Count * BlockSize;
        _directPool.Push(io);
        if (_closed)
        {
            return;
        }

        if (!good)
        {
            Fail(new IOException($"a data write of {io.Count * BlockSize} bytes returned {result}"));
            RetryWaitingReads();
            return;
        }

        RetryWaitingReads();
        if (--batch.PendingData == 0)
        {
            SchedulePump();
            AdvanceCheckpoint();
        }
    }

    private sealed class DirectCompletion(DiskObjectStore store) : BlockCompletion
    {
        public JournalBatch? Batch { get; private set; }

        public uint First { get; private set; }

        public uint Count { get; private set; }

        public void Start(JournalBatch batch, uint first, uint count)
        {
            Batch = batch;
            First = first;
            Count = count;
        }

        public override void OnDone(int result) => store.OnDirectWritten(this, result);
    }
}

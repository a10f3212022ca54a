using System.Numerics;
using System.Runtime.InteropServices;
using Storage.Cluster;
using Storage.ObjectStore.Offline;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// fsck of compressed data.
public sealed partial class DiskObjectStore
{
    private void CheckBlobUnits(StoreCheckReport report, in ChunkBlob slot, string where, Dictionary<uint, int> references, Action<string> problem)
    {
        report.Blocks += BitOperations.PopCount(slot.Mask);
        report.CompressedBlocks += BitOperations.PopCount(slot.Mask);
        for (uint unit = slot.Blob.Unit; unit < slot.Blob.Unit + slot.Blob.Units; unit++)
        {
            if (unit > _super.DataUnits || !_space.IsUsed(unit))
            {
                report.Errors++;
                problem($"{where} lie in unit {unit}, which is {(unit > _super.DataUnits ? "beyond the disk" : "free")}");
                return;
            }

            CollectionsMarshal.GetValueRefOrAddDefault(references, unit, out _)++;
        }
    }

    private async Task CheckBlobsAsync(
        StoreCheckReport report,
        List<(ChunkBlob Slot, ulong Number, int Chunk)> blobs,
        Dictionary<ulong, (CollectionId Collection, ObjectId Id, int Chunks)> objects,
        Action<string> problem)
    {
        blobs.Sort(static (a, b) => a.Slot.Blob.Unit.CompareTo(b.Slot.Blob.Unit));
        PageBuffer buffer = _pool.Rent(Blob.MostBlocks * BlockSize);
        try
        {
            uint last = 0;
            bool good = false;
            string why = "";
            foreach ((ChunkBlob slot, ulong number, int chunk) in blobs)
            {
                Blob blob = slot.Blob;
                if (blob.Unit != last) // what clones share is read once
                {
                    last = blob.Unit;
                    int length = blob.Units * BlockSize;
                    var io = new AwaitableCompletion();
                    _device.Read(UnitOffset(blob.Unit), buffer.Slice(0, length), io);
                    int got = await io.Task;
                    bool matches = got == length && blob.HasChecksums(buffer.Span);
                    good = matches && TryUnpack(blob, buffer.Span[..length], out _);
                    why = got < 0 ? $"cannot be read ({new IoError(-got)})" : matches ? "cannot be decompressed" : "fail their checksum";
                }

                int blocks = BitOperations.PopCount(slot.Mask);
                report.BlocksVerified += good ? blocks : 0;
                report.BlocksDamaged += good ? 0 : blocks;
                if (!good)
                {
                    long from = ((long)chunk * Chunk.Blocks) + BitOperations.TrailingZeroCount(slot.Mask);
                    long to = ((long)chunk * Chunk.Blocks) + Chunk.Blocks - BitOperations.LeadingZeroCount(slot.Mask);
                    (CollectionId collection, ObjectId id, _) = objects[number];
                    problem($"{collection}/{id}: bytes {from * BlockSize} to {to * BlockSize}, compressed, {why}");
                }
            }
        }
        finally
        {
            buffer.Release();
        }
    }
}

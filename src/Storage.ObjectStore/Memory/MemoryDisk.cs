using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Memory;

/// <summary>
/// What survives a simulated crash: hand the same disk to the next <see cref="MemoryObjectStore"/> to open it again.
/// Used by one store at a time.
/// </summary>
public sealed class MemoryDisk
{
    /// <summary>Creates an empty disk.</summary>
    /// <param name="capacityBytes">Bytes of data it can hold; writes beyond are refused.</param>
    public MemoryDisk(long capacityBytes = long.MaxValue) => CapacityBytes = capacityBytes;

    /// <summary>Bytes of data it can hold; may be changed at any time.</summary>
    public long CapacityBytes { get; set; }

    /// <summary>Bytes in use, in whole blocks; blocks shared by clones count once.</summary>
    public long UsedBytes { get; internal set; }

    /// <summary>How much slower than <see cref="MemoryStoreOptions"/> say this disk is; 1 for not at all. May be changed at any time.</summary>
    public double Slowness { get; set; } = 1;

    /// <summary>Whether an object of a name, or a snapshot of it, has a block here that cannot be read, in any collection.</summary>
    /// <param name="name">The objects' name.</param>
    /// <returns>True if one was damaged and not replaced since.</returns>
    public bool HasDamage(string name)
    {
        for (int i = 0; i < Collections.Count; i++)
        {
            SortedMap<ObjectId, MemoryObject, NaturalOrder<ObjectId>> objects = Collections.ValueAt(i).Objects;
            for (int j = 0; j < objects.Count; j++)
            {
                if (objects.KeyAt(j).Name == name && objects.ValueAt(j).HasDamage)
                {
                    return true;
                }
            }
        }

        return false;
    }

    internal SortedMap<CollectionId, MemoryCollection, NaturalOrder<CollectionId>> Collections { get; } = new();

    internal MemoryObjectStore? Owner { get; set; }

    /// <summary>Changes of all collections so far: two that were made one after the other under the same name differ in it.</summary>
    internal long Changes { get; set; }

    /// <summary>How often a block was damaged in place.</summary>
    internal int Damages { get; set; }
}

internal sealed class MemoryCollection
{
    /// <summary>Grows whenever something in it changes or is damaged.</summary>
    public long Changes { get; set; }

    public SortedMap<ObjectId, MemoryObject, NaturalOrder<ObjectId>> Objects { get; } = new();

    public List<ReadOnlyMemory<byte>> Log { get; } = [];

    /// <summary>Index of the first record of <see cref="Log"/>.</summary>
    public long LogFirst { get; set; }
}

internal sealed class MemoryObject
{
    public long Size { get; set; }

    public SortedMap<long, MemoryBlock, NaturalOrder<long>> Blocks { get; set; } = new();

    public SortedMap<string, ReadOnlyMemory<byte>, NameOrder> Attributes { get; set; } = new();

    public SortedMap<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>, KeyOrder> Omap { get; set; } = new();

    public bool HasDamage
    {
        get
        {
            for (int i = 0; i < Blocks.Count; i++)
            {
                if (Blocks.ValueAt(i).Damage != BlockDamage.None)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>The last hash that was computed over it, and what it was computed of: the same as long as none of that changes.</summary>
    public HashedState Hashed { get; set; }

    /// <summary>What an object is now, without looking into its blocks.</summary>
    /// <param name="damages">How often a block of its disk was damaged.</param>
    public HashedState StateNow(int damages) =>
        new(Size, Blocks, Blocks.Changes, Attributes, Attributes.Changes, Omap, Omap.Changes, damages, false, 0);

    public MemoryObject Copy() => new() { Size = Size, Blocks = Blocks.Copy(), Attributes = Attributes.Copy(), Omap = Omap.Copy() };
}

/// <summary>What a hash was computed of, and what came of it.</summary>
internal readonly record struct HashedState(
    long Size, object? Blocks, int BlockChanges, object? Attributes, int AttributeChanges, object? Omap, int OmapChanges, int Damages, bool IsWhole, ulong Hash)
{
    /// <summary>Whether both are of the same content, whatever came of it.</summary>
    public bool IsOf(in HashedState other) =>
        Size == other.Size && ReferenceEquals(Blocks, other.Blocks) && BlockChanges == other.BlockChanges
        && ReferenceEquals(Attributes, other.Attributes) && AttributeChanges == other.AttributeChanges
        && ReferenceEquals(Omap, other.Omap) && OmapChanges == other.OmapChanges && Damages == other.Damages;
}

/// <summary>One block of data; never changed once stored, except by an injected fault.</summary>
internal sealed class MemoryBlock(byte[] data)
{
    [ThreadStatic]
    private static Stack<byte[]>? s_spare;

    public byte[] Data { get; private set; } = data;

    /// <summary>The number of the transaction that took it off the last object that had it.</summary>
    public ulong DroppedBy { get; set; }

    /// <summary>Room for a block's bytes, with anything in it.</summary>
    public static byte[] Rent() => s_spare is { } spare && spare.TryPop(out byte[]? bytes) ? bytes : GC.AllocateUninitializedArray<byte>(StoreLimits.BlockSize);

    /// <summary>Nothing can have this block any more, be it by undoing what took it off the disk: its room is used again. Blocks live long
    /// enough to be carried from one generation to the next, which costs more than all else that is done with them.</summary>
    public void Recycle()
    {
        byte[] bytes = Data;
        Data = [];
        s_spare ??= new Stack<byte[]>();
        if (bytes.Length > 0 && s_spare.Count < MostSpare)
        {
            s_spare.Push(bytes);
        }
    }

    private const int MostSpare = 1 << 13;

    /// <summary>What is wrong with it, or with a block it was merged from.</summary>
    public BlockDamage Damage { get; private set; }

    private ulong _hash;
    private int _hashedLength;
    private uint _sound; // checksum of what was on the disk before it was damaged
    private List<(int Start, int End)>? _overwritten; // what was written over damaged bytes; null if it is not known what these were

    public int References { get; set; }

    /// <summary>Hash of its first bytes, 0 if they are zeroes; computed once for a length.</summary>
    /// <param name="length">How many bytes of it count.</param>
    public ulong Hash(int length)
    {
        if (_hashedLength != length + 1)
        {
            ReadOnlySpan<byte> counted = Data.AsSpan(0, length);
            _hash = counted.ContainsAnyExcept((byte)0) ? Crc32C.Compute(counted) | 1UL << 32 : 0;
            _hashedLength = length + 1;
        }

        return _hash;
    }

    /// <summary>Its bytes are no longer what they were.</summary>
    public void Spoil(int offset, BlockDamage damage)
    {
        if (Damage == BlockDamage.None)
        {
            _sound = Crc32C.Compute(Data);
            _overwritten = [];
        }
        else if (_overwritten is { Count: > 0 })
        {
            _overwritten = null; // perhaps in what was written since
        }

        Data[offset] ^= 1;
        Damage = damage;
        _hashedLength = 0;
    }

    /// <summary>It holds damaged bytes of another block: nobody knows what they were.</summary>
    public void SpoilForGood(BlockDamage damage)
    {
        Damage = damage;
        _overwritten = null;
    }

    /// <summary>It took the place of a block, with new bytes in a part of it: what was damaged there is, but for those.</summary>
    public void Inherit(MemoryBlock old, int start, int count)
    {
        if (old.Damage == BlockDamage.None || old._overwritten is null)
        {
            Damage = old.Damage;
            return;
        }

        List<(int Start, int End)> overwritten = [.. old._overwritten, (start, start + count)];
        overwritten.Sort();
        int end = 0;
        foreach ((int from, int to) in overwritten)
        {
            end = from <= end ? Math.Max(end, to) : end;
        }

        if (end < StoreLimits.BlockSize)
        {
            Damage = old.Damage;
            _sound = old._sound;
            _overwritten = overwritten;
        }
    }

    /// <summary>Whether these bytes are what was on the disk before it was damaged.</summary>
    public bool WasOnDisk(ReadOnlySpan<byte> content) => Damage != BlockDamage.None && _overwritten is not null && Crc32C.Compute(content) == _sound;

    /// <summary>What of it cannot be read.</summary>
    public IEnumerable<(int Start, int End)> Damaged
    {
        get
        {
            if (Damage == BlockDamage.None)
            {
                yield break;
            }

            int end = 0;
            foreach ((int from, int to) in _overwritten ?? [])
            {
                if (from > end)
                {
                    yield return (end, from);
                }

                end = Math.Max(end, to);
            }

            if (end < StoreLimits.BlockSize)
            {
                yield return (end, StoreLimits.BlockSize);
            }
        }
    }
}

/// <summary>What is wrong with a block on a disk.</summary>
public enum BlockDamage : byte
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Its content fails its checksum: reads say <see cref="ReadStatus.ChecksumMismatch"/>.</summary>
    Flipped,

    /// <summary>The disk reports an error for it: reads say <see cref="ReadStatus.IoError"/>.</summary>
    Unreadable,
}

/// <summary>How a <see cref="MemoryObjectStore"/> behaves.</summary>
public sealed class MemoryStoreOptions
{
    /// <summary>Shortest time from submit to durable.</summary>
    public TimeSpan CommitLatencyMin { get; init; } = TimeSpan.FromMilliseconds(0.1);

    /// <summary>Longest time from submit to durable; each transaction draws one between the two.</summary>
    public TimeSpan CommitLatencyMax { get; init; } = TimeSpan.FromMilliseconds(1);

    /// <summary>Shortest time a read takes. With both read latencies zero, reads complete inside the call.</summary>
    public TimeSpan ReadLatencyMin { get; init; }

    /// <summary>Longest time a read takes.</summary>
    public TimeSpan ReadLatencyMax { get; init; }

    /// <summary>Share of the capacity from which writes of data are refused.</summary>
    public double FullRatio { get; init; } = 0.95;

    /// <summary>Where buffers for reads come from.</summary>
    public Storage.Reactor.BufferPool Pool { get; init; } = Storage.Reactor.BufferPool.Shared;
}

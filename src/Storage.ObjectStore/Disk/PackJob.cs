using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Compression;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>A part of a write that was tried to be compressed.</summary>
internal struct PackPart
{
    /// <summary>Its first block, counted from the write's first.</summary>
    public int Start;

    public int Blocks;

    /// <summary>Bytes of the compressed form; 0 if it saves too little.</summary>
    public int Length;

    /// <summary>Where that lies in the job's packed bytes.</summary>
    public int PackedAt;

    /// <summary>Of each unit of the compressed form; null if there is none.</summary>
    public uint[]? Checksums;
}

/// <summary>
/// One large write while it is being compressed. Its transaction was applied as if the write stayed plain, its batch waits; on the loop again it is decided which
/// of the two it becomes. What the threads touch are parts and the packed bytes.
/// </summary>
internal sealed class PackJob(IEventLoop loop, Action<object?> done, CompressionSettings settings, long pool) : IPackWork
{
    private const int Patience = 4; // parts without success, before the rest of the write is taken as it is
    private const int PartsPerPiece = 4;
    private PackPart[] _parts = [];
    private int _next; // of the parts that nobody has taken yet
    private int _left; // parts that are not done
    private int _failures; // one after the other
    private volatile bool _isFixed;

    public CompressionSettings Settings => settings;

    public long Pool => pool;

    /// <summary>Where in the transaction's record the room for its runs and checksums is, and how much.</summary>
    public int MetaAt { get; set; }

    public int MetaLength { get; set; }

    public long FirstBlock { get; set; }

    public JournalBatch? Batch { get; private set; }

    /// <summary>The write's whole blocks, page-aligned; holds a reference.</summary>
    public BufferSegment Data { get; private set; }

    /// <summary>Compressed parts that save enough, one behind the other.</summary>
    public PageBuffer? Packed { get; private set; }

    /// <summary>The units that the write was given.</summary>
    public DirectRun[] Runs { get; private set; } = [];

    /// <summary>The checksums of its blocks.</summary>
    public uint[] Checksums { get; private set; } = [];

    /// <summary>The block maps that the write went into, in order.</summary>
    public List<Chunk> Chunks { get; } = [];

    public ReadOnlySpan<PackPart> Parts => _parts;

    /// <summary>It stays plain: what is compressed by now counts no more.</summary>
    public bool IsFixed => _isFixed;

    /// <summary>True if a write is long enough to be compressed, cut as it is at every 64 KiB of the object.</summary>
    public static bool HasParts(long firstBlock, int blocks)
    {
        int head = (int)(Blob.MostBlocks - (firstBlock % Blob.MostBlocks));
        return Math.Min(head, blocks) >= Blob.LeastBlocks || blocks - head >= Blob.LeastBlocks;
    }

    /// <summary>Cuts a write into parts; there is one at least.</summary>
    /// <param name="batch">Where its transaction is.</param>
    /// <param name="data">Its whole blocks, page-aligned; a reference is taken over.</param>
    /// <param name="runs">The units it was given.</param>
    /// <param name="checksums">Of its blocks.</param>
    /// <param name="packed">Room for as much; taken over.</param>
    public void Prepare(JournalBatch batch, BufferSegment data, ReadOnlySpan<DirectRun> runs, ReadOnlySpan<uint> checksums, PageBuffer packed)
    {
        (Batch, Data, Runs, Checksums, Packed) = (batch, data, runs.ToArray(), checksums.ToArray(), packed);
        int blocks = data.Length / StoreLimits.BlockSize;
        var parts = new List<PackPart>((blocks / Blob.MostBlocks) + 2);
        int part;
        for (int at = 0; at < blocks; at += part)
        {
            part = (int)Math.Min(Blob.MostBlocks - ((FirstBlock + at) % Blob.MostBlocks), blocks - at);
            if (part >= Blob.LeastBlocks)
            {
                parts.Add(new PackPart { Start = at, Blocks = part });
            }
        }

        _parts = [.. parts];
        _left = _parts.Length;
    }

    /// <summary>Hands it to the threads.</summary>
    public void Start(PackThreads threads) => threads.Add(this, (_parts.Length + PartsPerPiece - 1) / PartsPerPiece);

    public void Run(Packer packer)
    {
        while (RunPiece(packer, PartsPerPiece))
        {
        }
    }

    /// <summary>Tries the next parts; false if there are none left.</summary>
    public bool RunPiece(Packer packer, int parts)
    {
        int from = Interlocked.Add(ref _next, parts) - parts;
        int to = Math.Min(from + parts, _parts.Length);
        for (int i = from; i < to; i++)
        {
            TryPack(packer, ref _parts[i]);
        }

        if (to > from && Interlocked.Add(ref _left, from - to) == 0)
        {
            Compact();
            loop.Post(done, this);
        }

        return to > from && to < _parts.Length;
    }

    /// <summary>It stays plain. Loop only.</summary>
    public void Fix() => _isFixed = true;

    /// <summary>Gives the buffers back. Once the threads are done with it.</summary>
    public void Release()
    {
        Data.Buffer!.Release();
        Data = default;
        Packed!.Release();
        Packed = null;
    }

    private void TryPack(Packer packer, ref PackPart part)
    {
        if (_isFixed || Volatile.Read(ref _failures) >= Patience)
        {
            return;
        }

        int at = part.Start * StoreLimits.BlockSize;
        if (!IsSound(in part))
        {
            return; // changed in memory since its checksums were computed: stored plain, with these, it is found when it is read
        }

        Span<byte> target = Packed!.Span.Slice(at, Blob.MostUnits(part.Blocks, settings.RequiredRatio) * StoreLimits.BlockSize);
        part.Length = packer.Pack(settings.Algorithm, settings.Level, Data.Span.Slice(at, part.Blocks * StoreLimits.BlockSize), target);
        if (part.Length == 0)
        {
            Interlocked.Increment(ref _failures);
            return;
        }

        Volatile.Write(ref _failures, 0);
        uint[] checksums = new uint[(part.Length + StoreLimits.BlockSize - 1) / StoreLimits.BlockSize];
        target[part.Length..(checksums.Length * StoreLimits.BlockSize)].Clear();
        for (int i = 0; i < checksums.Length; i++)
        {
            checksums[i] = Crc32C.Compute(target.Slice(i * StoreLimits.BlockSize, StoreLimits.BlockSize));
        }

        part.Checksums = checksums;
    }

    private bool IsSound(in PackPart part)
    {
        for (int block = part.Start; block < part.Start + part.Blocks; block++)
        {
            if (Crc32C.Compute(Data.Span.Slice(block * StoreLimits.BlockSize, StoreLimits.BlockSize)) != Checksums[block])
            {
                return false;
            }
        }

        return true;
    }

    private void Compact()
    {
        int to = 0;
        Span<byte> packed = Packed!.Span;
        foreach (ref PackPart part in _parts.AsSpan())
        {
            if (part.Checksums is { } checksums)
            {
                int length = checksums.Length * StoreLimits.BlockSize;
                packed.Slice(part.Start * StoreLimits.BlockSize, length).CopyTo(packed[to..]);
                part.PackedAt = to;
                to += length;
            }
        }
    }
}

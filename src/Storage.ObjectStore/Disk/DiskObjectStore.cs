using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Metadata;
using Storage.ObjectStore.Transactions;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// The production store: a block file or raw device with the journal ring and the data, and a metadata database beside it.
/// </summary>
/// <remarks>
/// A transaction is encoded into the open journal batch and applied to memory at once. Batches go to the ring one at a
/// time with a durable write, which commits them. Large writes go to free space first. Small ones stay in memory (overlay)
/// until a checkpoint brings them, merged, to their old place or to newly allocated space; then the block maps, attributes and
/// omap entries that changed go to the database in one batch, and the journal up to there is given up. Of what the last
/// checkpoint refers to, only blocks whose whole new content the journal holds are overwritten, so replaying the journal over it
/// is safe any number of times.
/// </remarks>
public sealed partial class DiskObjectStore : IObjectStore, IStoreView, IDisposable
{
    private readonly IEventLoop _loop;
    private readonly IBlockDevice _device;
    private readonly MetadataDatabase _database;
    private readonly DiskStoreOptions _options;
    private readonly BufferPool _pool;
    private readonly Superblock _super;
    private readonly SpaceMap _space;
    private readonly TransactionCheck _check;
    private readonly Dictionary<CollectionId, DiskCollection> _collections = [];
    private readonly HashSet<DiskCollection> _dirtyCollections = [];
    private List<(ulong Number, int Chunks, ulong Omap)> _graveyard = [];
    private readonly WireWriter _key = new();
    private List<Onode> _dirty = [];
    private readonly Stack<List<uint>> _unitLists = new(); // empty ones, as long as they have been
    private List<uint> _freed = []; // units whose last reference went since the last checkpoint began
    private readonly LinkedItems<Onode> _recent = new(); // in the order in which they come by for eviction
    private ulong _lastNumber;
    private long _overlayBlocks;
    private DiskCollection? _lastCollection;
    private Exception? _failure;
    private bool _closed;

    private DiskObjectStore(IEventLoop loop, IBlockDevice device, MetadataDatabase database, Superblock super, DiskStoreOptions options)
    {
        _loop = loop;
        _device = device;
        _database = database;
        _super = super;
        _options = options;
        _pool = options.Pool;
        _space = new SpaceMap(super.DataUnits);
        _check = new TransactionCheck(this);
        _journalCompletion = new JournalCompletion(this);
        _pump = _ => Pump();
        _forgetSegment = Forget;
        _packed = job => EndPacking((PackJob)job!);
        _packInline = job => PackInline((PackJob)job!);
        _open = new JournalBatch(_pool.Rent(StagingBytes));
        StartMemory();
    }

    /// <inheritdoc/>
    public event Action<Exception>? Failed;

    /// <summary>Identity of this store, as written by mkfs.</summary>
    public Guid StoreId => _super.Store;

    /// <inheritdoc/>
    public StoreUsage Usage => new(
        (long)_super.DataUnits * StoreLimits.BlockSize,
        Math.Min(_space.Allocated - _freed.Count - _freeing.Count - _releasing + _overlayBlocks - _homes + _withheldUnits, _super.DataUnits) * StoreLimits.BlockSize);

    /// <summary>Why the store stopped accepting writes, or null while it is well.</summary>
    public Exception? Failure => _failure;

    bool IStoreView.CollectionExists(CollectionId collection) => FindCollection(collection) is not null;

    bool IStoreView.ObjectExists(CollectionId collection, ObjectId id) => Find(collection, id) is not null;

    private DiskCollection? FindCollection(CollectionId id)
    {
        if (_lastCollection is { } last && last.Id == id)
        {
            return last.Exists ? last : null;
        }

        if (_collections.TryGetValue(id, out DiskCollection? found) && found.Exists)
        {
            _lastCollection = found;
            return found;
        }

        return null;
    }

    /// <summary>The object if it exists.</summary>
    private Onode? Find(CollectionId collection, ObjectId id)
    {
        DiskCollection? found = FindCollection(collection);
        if (found is null)
        {
            return null;
        }

        Onode onode = Load(found, id);
        return onode.Exists ? onode : null;
    }

    /// <summary>The name's entry in the cache, read from the database if it was not there.</summary>
    private Onode Load(DiskCollection collection, ObjectId id)
    {
        if (collection.Onodes.TryGetValue(id, out Onode? onode))
        {
            onode.WasUsed = true;
            return onode;
        }

        onode = new Onode(collection, id);
        MetadataKeys.WriteObject(_key, collection.Id, id);
        if (_database.Get(_key.WrittenSpan) is { } value)
        {
            OnodeFormat.Read(value, onode);
        }

        collection.Onodes.Add(id, onode);
        _recent.Add(onode);
        if (MetadataBytes > _metadataBudget)
        {
            Evict();
        }

        return onode;
    }

    /// <summary>As <see cref="Load"/>, for a caller who is about to change it.</summary>
    private Onode LoadToChange(DiskCollection collection, ObjectId id)
    {
        Onode onode = Load(collection, id);
        Freeze(onode);
        return onode;
    }

    // Looks at a few only; those that cannot go yet, or were used since they last came by, come by again. So what the running
    // transaction holds stays: it was used just now, and a round is longer than all that one step of it looks up.
    private void Evict()
    {
        for (int i = 0; i < 16 && MetadataBytes > _metadataBudget && _recent.Count > 64; i++)
        {
            Onode victim = _recent.First!;
            _recent.Remove(victim);
            if (victim.IsEvictable && !victim.WasUsed)
            {
                victim.Collection.Onodes.Remove(victim.Id);
                foreach (Chunk? chunk in victim.Chunks)
                {
                    _cachedChunks -= chunk is null ? 0 : 1;
                }
            }
            else
            {
                victim.WasUsed = false;
                _recent.Add(victim);
            }
        }
    }

    private void MarkDirty(Onode onode)
    {
        if (onode.DirtyGeneration != _generation)
        {
            Invariant.Holds(onode.DirtyGeneration == 0); // else Freeze was forgotten
            onode.DirtyGeneration = _generation;
            _dirty.Add(onode);
            ScheduleCheckpoint();
        }
    }

    private void MarkDirty(Chunk chunk)
    {
        chunk.Dirty = true;
        MarkDirty(chunk.Owner!);
    }

    /// <summary>A chunk of an object's block map; null if it has none there and none is to be made.</summary>
    private Chunk? GetChunk(Onode onode, int index, bool create)
    {
        Chunk?[] chunks = onode.Chunks;
        if (index < chunks.Length && chunks[index] is { } known)
        {
            return known;
        }

        if (index >= onode.PersistedChunks && !create)
        {
            return null;
        }

        if (index >= chunks.Length)
        {
            Array.Resize(ref chunks, Math.Max(index + 1, Math.Min(chunks.Length * 2, index + 64)));
            onode.Chunks = chunks;
        }

        var chunk = new Chunk(onode, index);
        chunks[index] = chunk;
        _cachedChunks++;
        if (index < onode.PersistedChunks)
        {
            MetadataKeys.WriteChunk(_key, onode.Number, index);
            if (_database.Get(_key.WrittenSpan) is { } value)
            {
                LoadChunk(chunk, value);
            }
        }

        return chunk;
    }

    private static int ChunkCount(Onode onode) => Math.Max(onode.Chunks.Length, onode.PersistedChunks);

    private void Fail(Exception error)
    {
        if (_failure is null)
        {
            _failure = error;
            Failed?.Invoke(error);
            TaskCompletionSource? idle = _idle;
            _idle = null;
            idle?.SetResult(); // whoever waits looks at Failure
        }
    }
}

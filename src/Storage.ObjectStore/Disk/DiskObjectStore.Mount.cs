using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Metadata;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// mkfs, mount with replay, and the two ways to stop.
public sealed partial class DiskObjectStore
{
    private List<JournalBatch>? _mountBatches;

    /// <summary>Name of the block file (or of a link to a raw device) in the store's directory.</summary>
    public const string BlockFileName = "block";

    /// <summary>Name of the metadata database's directory.</summary>
    public const string DatabaseName = "db";

    /// <summary>Makes a new store: allocates the block file, zeroes the journal ring and creates the database. Blocking.</summary>
    /// <param name="directory">The store's directory, created if missing; may hold a link named <c>block</c> to a raw device.</param>
    /// <param name="sizeBytes">Size of the block file; for a device at most its size, 0 for all of it.</param>
    /// <param name="store">Identity of the new store.</param>
    /// <param name="options">Settings; null for the defaults.</param>
    /// <exception cref="IOException">There is a store already, or the disk refuses.</exception>
    public static void Format(string directory, long sizeBytes, Guid store, DiskStoreOptions? options = null)
    {
        options ??= new DiskStoreOptions();
        Directory.CreateDirectory(directory);
        string database = Path.Combine(directory, DatabaseName);
        if (Directory.Exists(database))
        {
            throw new IOException($"{directory} holds a store already: {database} exists");
        }

        using BlockFile file = BlockFile.Open(Path.Combine(directory, BlockFileName), create: true);
        PageBuffer page = options.Pool.Rent(4 << 20);
        try
        {
            if (file.Length >= BlockSize)
            {
                Check(file.Read(0, page.Slice(0, BlockSize)), BlockSize, "superblock read");
                if (Superblock.HasMagic(page.Span))
                {
                    throw new IOException($"{file.Path} holds a store already");
                }
            }

            if (file.Length < sizeBytes)
            {
                file.Allocate(sizeBytes);
            }

            long length = (sizeBytes == 0 ? file.Length : sizeBytes) / BlockSize * BlockSize;
            long ring = options.JournalBytes != 0 ? options.JournalBytes : Math.Clamp(length / 8, 4L << 20, 512L << 20);
            Superblock super = Superblock.Plan(store, length, ring / BlockSize * BlockSize);
            page.Span.Clear();
            for (long at = 0; at < super.RingLength; at += 4 << 20)
            {
                int part = (int)Math.Min(4 << 20, super.RingLength - at);
                Check(file.Write(super.RingOffset + at, page.Slice(0, part), durable: false), part, "journal zeroing");
            }

            Check(file.Flush(), 0, "flush");
            WriteFirstState(database, store, options);
            WriteSuperblock(file, page, super);
        }
        finally
        {
            page.Release();
        }
    }

    /// <summary>Gives a stopped store more space: lengthens and allocates its block file, or takes all of a device that has grown. Blocking.</summary>
    /// <param name="directory">The store's directory.</param>
    /// <param name="sizeBytes">The new size of the block file; 0 for what the file or device has.</param>
    /// <returns>Bytes for data before and after.</returns>
    /// <exception cref="IOException">The store is in use, or the disk refuses.</exception>
    /// <exception cref="ArgumentException">It would not get longer.</exception>
    /// <exception cref="MalformedDataException">Not a store.</exception>
    public static (long Before, long After) Grow(string directory, long sizeBytes)
    {
        using BlockFile file = BlockFile.Open(Path.Combine(directory, BlockFileName));
        PageBuffer page = BufferPool.Shared.Rent(2 * BlockSize);
        try
        {
            Check(file.Read(0, page.Slice(0, 2 * BlockSize)), 2 * BlockSize, "superblock read");
            Superblock old = Superblock.ReadEither(page.Span, file.Length);
            long length = (sizeBytes == 0 ? file.Length : sizeBytes) / BlockSize * BlockSize;
            Superblock grown = old.Grow(length);
            if (file.Length < length)
            {
                file.Allocate(length);
            }

            WriteSuperblock(file, page, grown);
            return ((long)old.DataUnits * BlockSize, (long)grown.DataUnits * BlockSize);
        }
        finally
        {
            page.Release();
        }
    }

    private static void WriteSuperblock(BlockFile file, PageBuffer page, Superblock super)
    {
        super.Write(page.Span[..BlockSize]);
        Check(file.Write(Superblock.CopyOffset, page.Slice(0, BlockSize), durable: true), BlockSize, "superblock write");
        Check(file.Write(0, page.Slice(0, BlockSize), durable: true), BlockSize, "superblock write");
    }

    /// <summary>Creates the database of a new store.</summary>
    internal static void WriteFirstState(string database, Guid store, DiskStoreOptions options)
    {
        using var db = new MetadataDatabase(database, create: true, options.DatabaseCacheBytes);
        using var batch = new MetadataBatch();
        var writer = new WireWriter();
        new StoreState(store, 0, 0, 0, 1, 0, 1).Write(writer);
        batch.Put(MetadataKeys.State, writer.WrittenSpan);
        db.WriteAndFlush(batch);
    }

    /// <summary>Opens a store: reads the metadata, replays the journal, makes a checkpoint.</summary>
    /// <param name="loop">The loop it lives on; called on it.</param>
    /// <param name="device">The block file or device; the store disposes it.</param>
    /// <param name="databasePath">Directory of the metadata database.</param>
    /// <param name="options">Settings; null for the defaults.</param>
    /// <returns>The open store.</returns>
    /// <exception cref="MalformedDataException">Not a store, of another version, or damaged; nothing was changed.</exception>
    /// <exception cref="IOException">The disk or the database refuses.</exception>
    public static async Task<DiskObjectStore> OpenAsync(IEventLoop loop, IBlockDevice device, string databasePath, DiskStoreOptions? options = null)
    {
        options ??= new DiskStoreOptions();
        Superblock super;
        PageBuffer page = options.Pool.Rent(2 * BlockSize);
        try
        {
            var io = new AwaitableCompletion();
            device.Read(0, page.Slice(0, 2 * BlockSize), io);
            Check(await io.Task, 2 * BlockSize, "superblock read");
            super = Superblock.ReadEither(page.Span, device.Length);
        }
        finally
        {
            page.Release();
        }

        if (!Directory.Exists(databasePath))
        {
            throw new IOException($"the metadata database {databasePath} is missing");
        }

        var database = new MetadataDatabase(databasePath, create: false, options.DatabaseCacheBytes, options.DatabaseCompaction);
        var store = new DiskObjectStore(loop, device, database, super, options);
        try
        {
            await store.MountAsync();
            return store;
        }
        catch
        {
            store.Abandon();
            throw;
        }
    }

    /// <summary>Brings everything to its place, makes a last checkpoint and closes. No calls may follow.</summary>
    /// <returns>A task that completes on the loop.</returns>
    public async Task CloseAsync()
    {
        // A disk without room for write-back keeps small writes in the journal, where the next mount finds them.
        for (int round = 0; round < 8 && _failure is null && (_dirty.Count > 0 || _dirtyCollections.Count > 0 || _overlayBlocks > 0 || _queue.Count > 0 || _open.Transactions > 0 || _stage != CheckpointStage.Idle); round++)
        {
            await CheckpointAsync();
        }

        await ReleasedAsync();
        Abandon();
    }

    /// <inheritdoc cref="Abandon"/>
    public void Dispose() => Abandon();

    /// <summary>Stops as a crash would, without a checkpoint: what was acknowledged is in the journal. No calls may follow.</summary>
    public void Abandon()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        _checkpointTimer?.Cancel();
        EndPace();
        _memoryTimer?.Cancel();
        _memoryTimer = null;
        LeaveMemory();
        foreach (Chunk chunk in _overlayChunks.Concat(_collecting.Skip(_nextChunk)))
        {
            for (int block = 0; chunk.Owner is not null && chunk.OverlayCount > 0 && block < Chunk.Blocks; block++)
            {
                DropBlock(chunk, block);
            }
        }

        foreach (JournalBatch batch in _queue)
        {
            if (!ReferenceEquals(batch, _writing))
            {
                batch.Release();
            }
        }

        _queue.Clear();
        _waiting.Clear();
        _open.Release();
        ForgetMountBatches();
        _databaseWork?.CompleteAdding();
        _databaseThread?.Join();
        _databaseWork?.Dispose();
        foreach (DiskCollection collection in _collections.Values)
        {
            collection.Log.Segments.ForEach(static segment => segment.Abandon());
        }

        foreach (CapturedSegment captured in _captured)
        {
            captured.Segment.Abandon(); // trimmed while the checkpoint had still to write it
        }

        _changes?.Dispose();
        _changes = null;
        _database.Dispose();
        _device.Dispose();
        _cache.Dispose();
        _packer.Dispose();
        TaskCompletionSource? idle = _idle;
        _idle = null;
        idle?.TrySetException(_failure ?? new ObjectDisposedException(nameof(DiskObjectStore)));
        TaskCompletionSource? released = _released;
        _released = null;
        released?.TrySetException(_failure ?? new ObjectDisposedException(nameof(DiskObjectStore)));
    }

    private static void Check(int result, int expected, string what)
    {
        if (result != expected)
        {
            throw new IOException(result < 0 ? $"{what}: {new IoError(-result)}" : $"{what}: {result} of {expected} bytes");
        }
    }

    private async Task MountAsync()
    {
        byte[] value = _database.Get(MetadataKeys.State) ?? throw new MalformedDataException("the metadata database holds no store state");
        StoreState state = StoreState.Read(value);
        if (state.Store != _super.Store)
        {
            throw new MalformedDataException($"the block file belongs to store {_super.Store}, the database to {state.Store}");
        }

        // What a killed process left in the device's cache must be durable before anything is built on having read it.
        var flush = new AwaitableCompletion();
        _device.Flush(flush);
        Check(await flush.Task, 0, "flush");
        _lastTransaction = _durableTransaction = state.LastTransaction;
        _lastNumber = state.LastNumber;
        _tail = _head = state.TailPosition;
        _nextSequence = state.TailSequence;
        _mountBatches = [];
        await ReadJournalAsync(state);
        HashSet<ulong> overlaid = LoadMaps();
        if (overlaid.Count > 0)
        {
            RestoreOverlays(overlaid);
        }

        foreach (JournalBatch batch in _mountBatches)
        {
            Replay(batch, state.LastTransaction);
        }

        RequireLibraries();
        ForgetMountBatches();
        _epoch = state.Epoch + 1;
        _epochStart = _nextSequence;
        await CheckpointAsync();
        if (_failure is not null)
        {
            throw new IOException("the checkpoint after mounting failed", _failure);
        }
    }

    private void ForgetMountBatches()
    {
        foreach (JournalBatch batch in _mountBatches ?? [])
        {
            batch.Release();
        }

        _mountBatches = null;
    }

    private async Task ReadJournalAsync(StoreState state)
    {
        while (true)
        {
            JournalBatch? batch = await ReadBatchAsync(_head, state);
            if (batch is null && _head % _super.RingLength != 0)
            {
                batch = await ReadBatchAsync((_head / _super.RingLength + 1) * _super.RingLength, state);
            }

            if (batch is null || batch.Position + batch.PaddedLength > _tail + _super.RingLength)
            {
                batch?.Release();
                await RefuseGapAsync(state);
                return;
            }

            batch.Durable = true;
            _mountBatches!.Add(batch);
            _live.Enqueue(batch);
            _head = batch.Position + batch.PaddedLength;
            _nextSequence = batch.Sequence + 1;
        }
    }

    // Batches are written one after the other, so only the last one may be torn. A whole batch beyond the one that does not pass
    // proves that the disk damaged what had been acknowledged: starting without it would pass for an older, sound copy.
    private async Task RefuseGapAsync(StoreState state)
    {
        const int Step = 1 << 20;
        PageBuffer window = _pool.Rent(Step);
        try
        {
            long end = Math.Min(_head + BufferPool.LargestBuffer + Step, _tail + _super.RingLength);
            for (long position = _head / BlockSize * BlockSize; position < end;)
            {
                long at = position % _super.RingLength;
                int length = (int)Math.Min(Math.Min(Step, end - position), _super.RingLength - at);
                var io = new AwaitableCompletion();
                _device.Read(_super.RingOffset + at, window.Slice(0, length), io);
                Check(await io.Task, length, "journal read");
                for (int i = 0; i < length; i += BlockSize)
                {
                    if (JournalFormat.TryReadLater(window.Span[i..length], _super.Store, state.Epoch, _nextSequence, out ulong sequence))
                    {
                        throw new MalformedDataException(
                            $"journal batch {_nextSequence} at offset {_super.RingOffset + (_head % _super.RingLength)} of the block file is damaged, but batch {sequence} after it is there: "
                            + "the disk lost acknowledged writes. The store is left as it is; make the OSD anew on a good disk and let it be filled from the other copies.");
                    }
                }

                position += length;
            }
        }
        finally
        {
            window.Release();
        }
    }

    private async Task<JournalBatch?> ReadBatchAsync(long position, StoreState state)
    {
        long at = position % _super.RingLength;
        PageBuffer header = _pool.Rent(BlockSize);
        ulong epoch;
        int length;
        try
        {
            var io = new AwaitableCompletion();
            _device.Read(_super.RingOffset + at, header.Slice(0, BlockSize), io);
            Check(await io.Task, BlockSize, "journal read");
            if (!JournalFormat.TryReadHeader(header.Span, _super.Store, _nextSequence, out epoch, out length)
                || (_nextSequence >= state.EpochStart ? epoch != state.Epoch : epoch >= state.Epoch))
            {
                return null;
            }
        }
        finally
        {
            header.Release();
        }

        var batch = new JournalBatch(_pool.Rent(length)) { Length = length, Position = position };
        if (at + batch.PaddedLength > _super.RingLength)
        {
            batch.Release();
            return null;
        }

        var body = new AwaitableCompletion();
        _device.Read(_super.RingOffset + at, batch.Slice(batch.PaddedLength), body);
        int result = await body.Task;
        if (result != batch.PaddedLength || !JournalFormat.TryComplete(batch.Span[..length], batch))
        {
            batch.Release();
            Check(Math.Min(result, 0), 0, "journal read");
            return null;
        }

        return batch;
    }

    private sealed class AwaitableCompletion : BlockCompletion
    {
        private readonly TaskCompletionSource<int> _source = new();

        public Task<int> Task => _source.Task;

        public override void OnDone(int result) => _source.SetResult(result);
    }
}

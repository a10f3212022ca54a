using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Write-back: committed small writes leave memory for the disk, many blocks at a time. A block whose whole new content
// is in the journal goes back to the unit it came from: until the next checkpoint counts, whoever mounts replays that content and
// never looks at the unit, torn or not. Every other block goes to newly allocated space.
public sealed partial class DiskObjectStore
{
    private const int WriteBackBlocks = 64;
    private const int BlobWork = 8; // a blob that has to be decompressed for a block takes about as long as so many others
    private const int WriteBackDepth = 2;
    private readonly List<(Chunk Chunk, int Block)> _candidates = new(WriteBackBlocks);
    private List<Chunk> _collecting = [];
    private int _nextChunk;
    private int _nextBlock;
    private long _writeBackVersion;
    private long _writeBackPeriod;
    private int _writeBackInFlight;
    private bool _writeBackWrote;
    private bool _writeBackRunning;
    private readonly HashSet<int> _damagedBlocks = [];
    private readonly Stack<WriteBackOperation> _writeBackPool = new(WriteBackDepth);

    private void BeginWriteBack(bool paced)
    {
        Invariant.Holds(_collecting.Count == 0 && _writeBackInFlight == 0);
        BeginPace(paced);
        (_collecting, _overlayChunks) = (_overlayChunks, _collecting);
        _nextChunk = _nextBlock = 0;
        _writeBackWrote = false;

        // What is written over from now on waits for the next time: reads that began before it may still look at its unit.
        _writeBackVersion = _version;
        _writeBackPeriod = _reads.Advance();
    }

    /// <summary>True if all that the block is made of is on stable storage.</summary>
    private bool IsSettled(OverlayBlock overlay)
    {
        foreach (ref readonly Piece piece in overlay.Pieces)
        {
            if ((piece.Kind == PieceKind.Journal && !piece.Batch!.Durable) || IsInFlight(in piece))
            {
                return false;
            }
        }

        return true;
    }

    private void ContinueWriteBack()
    {
        // An operation that finds nothing left to write ends inside Go and calls back here: the outer call goes on.
        if (_writeBackRunning || _stage != CheckpointStage.WriteBack || _failure is not null || _closed || !_reads.IsOver(_writeBackPeriod))
        {
            return;
        }

        _writeBackRunning = true;
        while (_writeBackInFlight < WriteBackDepth && _nextChunk < _collecting.Count && !IsAhead)
        {
            bool mayReturn = MayReturn;
            CollectCandidates(_isPaced && mayReturn ? PacedBlocks : WriteBackBlocks);
            if (_candidates.Count == 0)
            {
                continue;
            }

            WriteBackOperation write = _writeBackPool.TryPop(out WriteBackOperation? pooled) ? pooled : new WriteBackOperation(this);
            write.Begin(_pool.Rent(_candidates.Count * BlockSize));
            _writeBackInFlight++;
            _writeBackStarted += _candidates.Count;
            AddCandidates(write, mayReturn, inPlace: true);
            AddCandidates(write, mayReturn, inPlace: false);
            write.Go();
        }

        _writeBackRunning = false;
        if (_failure is null && _writeBackInFlight == 0 && _nextChunk == _collecting.Count)
        {
            _collecting.Clear();
            EndWriteBack();
        }
    }

    private void CollectCandidates(int limit)
    {
        _candidates.Clear();
        int work = 0;
        while (_nextChunk < _collecting.Count && work < limit)
        {
            Chunk chunk = _collecting[_nextChunk];
            if (chunk.Owner is null || chunk.OverlayMask == 0)
            {
                chunk.InOverlayList = false;
                _nextChunk++;
                continue;
            }

            while (_nextBlock < Chunk.Blocks && work < limit)
            {
                ulong rest = chunk.OverlayMask >> _nextBlock;
                if (rest == 0)
                {
                    _nextBlock = Chunk.Blocks;
                    break;
                }

                _nextBlock += System.Numerics.BitOperations.TrailingZeroCount(rest);
                OverlayBlock overlay = chunk.Overlay![_nextBlock]!;
                if (overlay.Version <= _writeBackVersion && IsSettled(overlay))
                {
                    _candidates.Add((chunk, _nextBlock));
                    work += overlay.IsInBlob ? BlobWork : 1;
                }

                _nextBlock++;
            }

            if (_nextBlock == Chunk.Blocks)
            {
                _nextBlock = 0;
                _nextChunk++;
                _overlayChunks.Add(chunk); // looked at again next time; it may be empty by then
            }
        }
    }

    private void AddCandidates(WriteBackOperation write, bool mayReturn, bool inPlace)
    {
        foreach ((Chunk chunk, int block) in _candidates)
        {
            OverlayBlock overlay = chunk.Overlay![block]!;
            bool hasPlace = mayReturn && overlay.Home != 0 && overlay.IsInMemory;
            if (hasPlace == inPlace)
            {
                _returned += inPlace ? 1 : 0;
                write.Add(chunk, block, overlay, inPlace ? overlay.Home : 0);
            }
        }
    }

    /// <summary>One buffer of blocks on its way: parts still on the disk are read, checked and merged, then it is written.</summary>
    private sealed class WriteBackOperation(DiskObjectStore store) : BlockCompletion
    {
        private readonly List<Item> _items = new(WriteBackBlocks);
        private readonly DiskPatches _patches = new(store);
        private PageBuffer _buffer = null!;
        private int _pending;
        private long _wanted;
        private long _got;
        private bool _readFailed;
        private bool _writing;

        /// <summary>Takes the reference on a buffer over, and is used again from its start on.</summary>
        public void Begin(PageBuffer buffer)
        {
            _buffer = buffer;
            _pending = 1;
            _wanted = _got = 0;
            _readFailed = _writing = false;
        }

        /// <summary>Adds a block; those that go back to their unit (not 0) come first.</summary>
        public void Add(Chunk chunk, int block, OverlayBlock overlay, uint unit)
        {
            _pending += _patches.Fill(overlay, _buffer.Span, _items.Count * BlockSize, this, out _);
            _items.Add(new Item(chunk, block, overlay, overlay.Version, unit, unit != 0));
        }

        public void Go() => Done();

        public override void OnDone(int result)
        {
            if (_writing)
            {
                _got += Math.Max(0, result);
            }
            else
            {
                _readFailed |= result <= 0 || result % BlockSize != 0; // a short read leaves zeroes, which no checksum of what is missing fits
            }

            Done();
        }

        private void Done()
        {
            if (--_pending > 0)
            {
                return;
            }

            if (!_writing)
            {
                _writing = true;
                HashSet<int> damaged = store._damagedBlocks;
                damaged.Clear();
                bool good = _patches.Apply(_buffer.Span, damaged) && !_readFailed;
                if (!store._closed)
                {
                    Write(good ? null : damaged);
                    return;
                }
            }

            store._writeBackInFlight--;
            if (store._closed || _got != _wanted)
            {
                _buffer.Release();
                if (!store._closed)
                {
                    store.Fail(new IOException($"write-back of {_wanted} bytes wrote {_got}"));
                }

                return;
            }

            Install();
            _buffer.Release();
            _items.Clear();
            store._writeBackPool.Push(this);
            store.ContinueWriteBack();
        }

        private void Write(HashSet<int>? damaged)
        {
            _pending = 1;
            Span<Item> items = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_items);
            for (int i = 0; i < items.Length; i++)
            {
                // What is to be merged with damaged data is written for nothing, and stays what it is. A read that failed left a page of
                // zeroes, whose checksum is not the unit's.
                items[i].Checksum = Crc32C.Compute(_buffer.Span.Slice(i * BlockSize, BlockSize));
                items[i].Damaged = damaged is not null && damaged.Contains(i);
            }

            int at = 0;
            while (at < items.Length)
            {
                uint start = items[at].Unit;
                int count = 1;
                if (start != 0)
                {
                    while (at + count < items.Length && items[at + count].Unit == start + (uint)count)
                    {
                        count++;
                    }
                }
                else
                {
                    count = (int)store._space.Allocate((uint)(items.Length - at), out start);
                    if (count == 0)
                    {
                        _items.RemoveRange(at, items.Length - at); // no room: these stay in memory and in the journal
                        break;
                    }

                    for (int i = 0; i < count; i++)
                    {
                        items[at + i].Unit = start + (uint)i;
                    }
                }

                _wanted += count * BlockSize;
                _pending++;
                store._writeBackWrote = true;
                store._device.Write(store.UnitOffset(start), _buffer.Slice(at * BlockSize, count * BlockSize), durable: false, this);
                at += count;
            }

            Done();
        }

        private void Install()
        {
            ReadOnlySpan<Item> items = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_items);
            for (int i = 0; i < items.Length; i++)
            {
                ref readonly Item item = ref items[i];
                Chunk chunk = item.Chunk;
                if (item.Damaged)
                {
                    Invariant.Holds(!item.InPlace, "a block that is in memory is damaged");
                    store._space.Free(item.Unit);
                    if (chunk.Owner is not null && ReferenceEquals(chunk.Overlay![item.Block], item.Overlay))
                    {
                        store.KeepApart(item.Overlay);
                        store.MarkDirty(chunk);
                    }
                }
                else if (chunk.Owner is not null && ReferenceEquals(chunk.Overlay![item.Block], item.Overlay) && item.Overlay.Version == item.Version)
                {
                    OverlayBlock overlay = store.DetachOverlay(chunk, item.Block)!;
                    if (item.InPlace)
                    {
                        Invariant.Holds(overlay.Home == item.Unit);
                        overlay.Home = 0; // its reference is the map's now
                    }

                    store.RecycleOverlay(overlay);
                    store._cache.Update(item.Unit, item.Checksum, _buffer.Span.Slice(i * BlockSize, BlockSize));
                    chunk.Units[item.Block] = item.Unit;
                    chunk.Checksums[item.Block] = item.Checksum;
                    store.MarkDirty(chunk);
                }
                else if (!item.InPlace)
                {
                    store._space.Free(item.Unit); // written over meanwhile; nothing ever referred to it
                }
            }
        }

        private struct Item(Chunk chunk, int block, OverlayBlock overlay, long version, uint unit, bool inPlace)
        {
            public readonly Chunk Chunk = chunk;
            public readonly int Block = block;
            public readonly OverlayBlock Overlay = overlay;
            public readonly long Version = version;
            public readonly bool InPlace = inPlace;
            public uint Unit = unit;
            public uint Checksum;
            public bool Damaged;
        }
    }
}

using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Write-back: committed small writes leave memory for newly allocated space, many blocks to a disk write. The space is
// always new, so a crash at any point leaves what the last checkpoint refers to as it was.
public sealed partial class DiskObjectStore
{
    private const int WriteBackBlocks = 128;
    private const int WriteBackDepth = 2;
    private readonly List<(Chunk Chunk, int Block, OverlayBlock Overlay)> _writeBack = [];
    private int _writeBackNext;
    private int _writeBackInFlight;
    private bool _writeBackWrote;
    private bool _writeBackRunning;

    private void CollectWriteBack()
    {
        _writeBack.Clear();
        _writeBackNext = 0;
        _writeBackWrote = false;
        var remaining = new List<Chunk>();
        foreach (Chunk chunk in _overlayChunks)
        {
            if (chunk.Owner is null || chunk.OverlayCount == 0)
            {
                chunk.InOverlayList = false;
                continue;
            }

            remaining.Add(chunk);
            for (int block = 0; block < Chunk.Blocks; block++)
            {
                if (chunk.Overlay![block] is { } overlay && IsSettled(overlay))
                {
                    _writeBack.Add((chunk, block, overlay));
                }
            }
        }

        _overlayChunks = remaining;
    }

    /// <summary>True if all that the block is made of is on stable storage.</summary>
    private bool IsSettled(OverlayBlock overlay)
    {
        foreach (ref readonly Piece piece in overlay.Pieces)
        {
            if ((piece.Kind == PieceKind.Journal && !piece.Batch!.Durable) || (piece.Kind == PieceKind.Disk && IsInFlight(piece.Unit)))
            {
                return false;
            }
        }

        return true;
    }

    private void ContinueWriteBack()
    {
        // An operation that finds nothing left to write ends inside Go and calls back here: the outer call goes on.
        if (_writeBackRunning)
        {
            return;
        }

        _writeBackRunning = true;
        while (_writeBackInFlight < WriteBackDepth && _writeBackNext < _writeBack.Count)
        {
            int count = Math.Min(WriteBackBlocks, _writeBack.Count - _writeBackNext);
            var write = new WriteBackOperation(this, _pool.Rent(count * BlockSize));
            _writeBackInFlight++;
            for (int i = 0; i < count; i++)
            {
                (Chunk chunk, int block, OverlayBlock overlay) = _writeBack[_writeBackNext++];
                if (chunk.Owner is not null && ReferenceEquals(chunk.Overlay![block], overlay) && IsSettled(overlay))
                {
                    write.Add(chunk, block, overlay);
                }
            }

            write.Go();
        }

        _writeBackRunning = false;
        if (_failure is null && _writeBackInFlight == 0 && _writeBackNext == _writeBack.Count)
        {
            _writeBack.Clear();
            _writeBackNext = 0;
            EndWriteBack();
        }
    }

    /// <summary>One buffer of blocks on its way: parts still on the disk are read, checked and merged, then it is written.</summary>
    private sealed class WriteBackOperation(DiskObjectStore store, PageBuffer buffer) : BlockCompletion
    {
        private readonly List<Item> _items = [];
        private readonly List<(int Item, PageBuffer Page, Piece Piece)> _merges = [];
        private readonly List<uint> _units = [];
        private int _pending = 1;
        private long _wanted;
        private long _got;
        private bool _readFailed;
        private bool _writing;

        public void Add(Chunk chunk, int block, OverlayBlock overlay)
        {
            int index = _items.Count;
            _items.Add(new Item(chunk, block, overlay, overlay.Version));
            foreach (ref readonly Piece piece in overlay.Pieces)
            {
                Span<byte> target = buffer.Span.Slice(index * BlockSize + piece.Start, piece.Length);
                switch (piece.Kind)
                {
                    case PieceKind.Zero:
                        target.Clear();
                        break;
                    case PieceKind.Journal:
                        piece.Batch!.Buffer.Span.Slice(piece.Source, piece.Length).CopyTo(target);
                        break;
                    default:
                        PageBuffer page = store._pool.Rent(BlockSize);
                        page.Span[..BlockSize].Clear();
                        _merges.Add((index, page, piece));
                        _pending++;
                        store._device.Read(store.UnitOffset(piece.Unit), page.Slice(0, BlockSize), this);
                        break;
                }
            }
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
                _readFailed |= result != BlockSize;
            }

            Done();
        }

        private void Done()
        {
            if (--_pending > 0)
            {
                return;
            }

            if (!_writing && !store._closed)
            {
                Write();
                return;
            }

            foreach ((_, PageBuffer page, _) in _merges)
            {
                page.Release();
            }

            buffer.Release();
            store._writeBackInFlight--;
            if (store._closed)
            {
                return;
            }

            if (_got != _wanted)
            {
                store.Fail(new IOException($"write-back of {_wanted} bytes wrote {_got}"));
                return;
            }

            Install();
            store.ContinueWriteBack();
        }

        private void Write()
        {
            _writing = true;
            _pending = 1;
            var poisoned = new HashSet<int>();
            foreach ((int item, PageBuffer page, Piece piece) in _merges)
            {
                page.Span.Slice(piece.Source, piece.Length).CopyTo(buffer.Span[(item * BlockSize + piece.Start)..]);
                if (_readFailed || Crc32C.Compute(page.Span[..BlockSize]) != piece.Checksum)
                {
                    poisoned.Add(item);
                }

                page.Release();
            }

            _merges.Clear();
            int at = 0;
            while (at < _items.Count)
            {
                uint got = store._space.Allocate((uint)(_items.Count - at), out uint start);
                if (got == 0)
                {
                    _items.RemoveRange(at, _items.Count - at); // no room: these stay in memory and in the journal
                    break;
                }

                for (uint i = 0; i < got; i++)
                {
                    _units.Add(start + i);
                }

                int bytes = (int)got * BlockSize;
                _wanted += bytes;
                _pending++;
                store._writeBackWrote = true;
                store._device.Write(store.UnitOffset(start), buffer.Slice(at * BlockSize, bytes), durable: false, this);
                at += (int)got;
            }

            for (int i = 0; i < _items.Count; i++)
            {
                uint checksum = Crc32C.Compute(buffer.Span.Slice(i * BlockSize, BlockSize));

                // Merged with damaged data: a checksum that cannot match keeps the block from ever passing for good.
                _items[i] = _items[i] with { Checksum = poisoned.Contains(i) ? ~checksum : checksum };
            }

            Done();
        }

        private void Install()
        {
            for (int i = 0; i < _items.Count; i++)
            {
                (Chunk chunk, int block, OverlayBlock overlay, long version, uint checksum) = _items[i];
                if (chunk.Owner is not null && ReferenceEquals(chunk.Overlay![block], overlay) && overlay.Version == version)
                {
                    store.RecycleOverlay(store.DetachOverlay(chunk, block)!);
                    chunk.Units[block] = _units[i];
                    chunk.Checksums[block] = checksum;
                    store.MarkDirty(chunk);
                }
                else
                {
                    store._space.Free(_units[i]); // written over meanwhile; nothing ever referred to it
                }
            }
        }

        private readonly record struct Item(Chunk Chunk, int Block, OverlayBlock Overlay, long Version, uint Checksum = 0);
    }
}

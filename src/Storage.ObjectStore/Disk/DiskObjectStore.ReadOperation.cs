using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.ObjectStore.Compression;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// One read on its way.
public sealed partial class DiskObjectStore
{
    /// <summary>One read under way. Pooled; one disk operation per run of units that lie one after the other.</summary>
    private sealed class ReadOperation(DiskObjectStore store) : BlockCompletion, IPackWork
    {
        private const int MostBlobsOnLoop = 2; // to decompress: more would keep others waiting
        private static readonly Action<object?> s_unpacked = static state => ((ReadOperation)state!).Finish();
        private readonly List<(int Block, Chunk Chunk, int Index, uint Unit, uint Checksum)> _expected = [];
        private readonly DiskPatches _patches = new(store);
        private readonly List<(int Block, uint Unit, int Count)> _reads = [];
        private readonly List<BlobRead> _blobs = [];
        private PageBuffer? _buffer;
        private IReadCompletion? _completion;
        private ulong _token;
        private int _within;
        private int _length;
        private int _pending;
        private long _wanted;
        private long _got;
        private int _error;
        private long _period;
        private bool _matches;

        public void Begin(PageBuffer buffer, int within, int length, IReadCompletion completion, ulong token, long period)
        {
            _buffer = buffer;
            _within = within;
            _length = length;
            _completion = completion;
            _token = token;
            _period = period;
            _wanted = _got = 0;
            _error = 0;
            _pending = 1; // keeps early completions from ending it before all has started; Go takes it back
        }

        public void AddHole(int block) => Block(block).Clear();

        /// <summary>Whether blocks read go to the cache.</summary>
        public bool MayCache { get; set; }

        public Span<byte> Block(int block) => _buffer!.Span.Slice(block * BlockSize, BlockSize);

        public void AddUnit(int block, Chunk chunk, int index)
        {
            uint unit = chunk.Units[index];
            _expected.Add((block, chunk, index, unit, chunk.Checksums[index]));
            if (_reads.Count > 0)
            {
                (int first, uint start, int count) = _reads[^1];
                if (first + count == block && start + (uint)count == unit)
                {
                    _reads[^1] = (first, start, count + 1);
                    return;
                }
            }

            _reads.Add((block, unit, 1));
        }

        /// <summary>Adds a block that lies compressed; blocks of one blob that follow each other are read once.</summary>
        public void AddBlob(int block, Chunk chunk, int index)
        {
            ChunkBlob slot = chunk.Blobs![chunk.FindBlob(index)];
            int source = index - slot.First;
            Span<BlobRead> blobs = CollectionsMarshal.AsSpan(_blobs);
            if (blobs.Length > 0)
            {
                ref BlobRead last = ref blobs[^1];
                if (last.Blob.Unit == slot.Blob.Unit && last.Block + last.Count == block && last.Source + last.Count == source)
                {
                    last.Count++;
                    return;
                }
            }

            _blobs.Add(new BlobRead { Block = block, Source = source, Count = 1, Blob = slot.Blob, Chunk = chunk, Page = store._pool.Rent(slot.Blob.Units * BlockSize) });
        }

        public void AddPieces(int block, OverlayBlock overlay)
        {
            _pending += _patches.Fill(overlay, _buffer!.Span, block * BlockSize, this, out int bytes);
            _wanted += bytes;
        }

        public void Go()
        {
            foreach ((int block, uint unit, int count) in _reads)
            {
                _pending++;
                _wanted += count * BlockSize;
                store._device.Read(store.UnitOffset(unit), _buffer!.Slice(block * BlockSize, count * BlockSize), this);
            }

            _reads.Clear();
            foreach (ref BlobRead read in CollectionsMarshal.AsSpan(_blobs))
            {
                read.WasCached = MayCache && store.TryCopyCached(read.Blob, read.Page.Span);
                if (!read.WasCached)
                {
                    _pending++;
                    _wanted += read.Blob.Units * BlockSize;
                    store._device.Read(store.UnitOffset(read.Blob.Unit), read.Page.Slice(0, read.Blob.Units * BlockSize), this);
                }
            }

            if (--_pending == 0)
            {
                End();
            }
        }

        public override void OnDone(int result)
        {
            if (result < 0)
            {
                _error = -result;
            }
            else
            {
                _got += result;
            }

            if (--_pending == 0)
            {
                End();
            }
        }

        private void End()
        {
            _matches = _patches.Apply(_buffer!.Span, null) & Verify();
            if (_blobs.Count <= MostBlobsOnLoop)
            {
                Run(store._packer);
                Finish();
            }
            else if (store._options.InlineCompression)
            {
                Run(store._packer);
                store._loop.Post(s_unpacked, this);
            }
            else
            {
                PackThreads.Shared.Add(this, 1);
                return; // the thread posts it back
            }
        }

        void IPackWork.Run(Packer packer)
        {
            Run(packer);
            store._loop.Post(s_unpacked, this);
        }

        // Perhaps on another thread: touches nothing of the store.
        private void Run(Packer packer)
        {
            foreach (ref BlobRead read in CollectionsMarshal.AsSpan(_blobs))
            {
                Span<byte> target = _buffer!.Span.Slice(read.Block * BlockSize, read.Count * BlockSize);
                ReadOnlySpan<byte> stored = read.Page.Span[..(read.Blob.Units * BlockSize)];
                _matches = _matches && read.Blob.HasChecksums(stored)
                    && packer.UnpackPart(read.Blob.Algorithm, stored[..read.Blob.Length], read.Blob.Blocks * BlockSize, read.Source * BlockSize, target);
            }
        }

        private void Finish()
        {
            foreach (ref readonly BlobRead read in CollectionsMarshal.AsSpan(_blobs))
            {
                // As in Verify: only what is still there.
                if (_matches && MayCache && !read.WasCached && !store._closed && read.Chunk.Owner is not null && read.Chunk.RefersTo(read.Blob))
                {
                    store.AddToCache(read.Blob, read.Page.Span[..(read.Blob.Units * BlockSize)]);
                }

                read.Page.Release();
            }

            ReadStatus status = _error != 0 || _got != _wanted ? ReadStatus.IoError : _matches ? ReadStatus.Ok : ReadStatus.ChecksumMismatch;
            _expected.Clear();
            _blobs.Clear();
            PageBuffer buffer = _buffer!;
            IReadCompletion completion = _completion!;
            (ulong token, int within, int length_) = (_token, _within, _length);
            _buffer = null;
            _completion = null;
            store.EndRead(this, _period);
            if (status == ReadStatus.Ok)
            {
                completion.OnRead(token, status, new BufferSegment(buffer, within, length_));
            }
            else
            {
                buffer.Release();
                completion.OnRead(token, status, default);
            }
        }

        private bool Verify()
        {
            ReadOnlySpan<byte> bytes = _buffer!.Span;
            foreach ((int block, Chunk chunk, int index, uint unit, uint checksum) in _expected)
            {
                ReadOnlySpan<byte> content = bytes.Slice(block * BlockSize, BlockSize);
                if (Crc32C.Compute(content) != checksum)
                {
                    return false;
                }

                _buffer.Checksums.Keep(block, checksum);

                // Only what is still there: the unit may belong to nobody or somebody else by now.
                if (MayCache && chunk.Owner is not null && chunk.Units[index] == unit && chunk.Checksums[index] == checksum)
                {
                    store._cache.Add(unit, checksum, content);
                }
            }

            return true;
        }

        private struct BlobRead
        {
            public int Block;
            public int Source; // block of the blob
            public int Count;
            public Blob Blob;
            public Chunk Chunk;
            public PageBuffer Page;
            public bool WasCached;
        }
    }
}

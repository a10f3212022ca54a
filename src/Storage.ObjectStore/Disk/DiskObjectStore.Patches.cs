using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// What overlay blocks are made of, brought together: parts in memory at once, parts on the disk after a read of their unit or blob.
public sealed partial class DiskObjectStore
{
    /// <summary>Reads whose bytes complete blocks that are partly in memory.</summary>
    private sealed class DiskPatches(DiskObjectStore store)
    {
        private readonly List<DiskSource> _sources = [];
        private readonly List<(int Source, int From, int Target, int Length)> _patches = [];

        /// <summary>Fills a block with what is in memory and starts reads for the rest.</summary>
        /// <param name="overlay">The block.</param>
        /// <param name="buffer">Where it goes.</param>
        /// <param name="at">The block's first byte there.</param>
        /// <param name="completion">Called once per read started, with its bytes or an error.</param>
        /// <param name="bytes">What the reads started should bring.</param>
        /// <returns>How many reads were started; counted before the first can complete.</returns>
        public int Fill(OverlayBlock overlay, Span<byte> buffer, int at, BlockCompletion completion, out int bytes)
        {
            int first = _sources.Count;
            bytes = 0;
            foreach (ref readonly Piece piece in overlay.Pieces)
            {
                Span<byte> target = buffer.Slice(at + piece.Start, piece.Length);
                switch (piece.Kind)
                {
                    case PieceKind.Zero:
                        target.Clear();
                        break;
                    case PieceKind.Journal:
                        piece.Batch!.Span.Slice(piece.Source, piece.Length).CopyTo(target);
                        break;
                    default:
                        // The blocks of a blob that is being dissolved come one after the other: it is read once.
                        if (piece.Blob is null || _sources.Count == 0 || _sources[^1].Blob is not { } last || last.Unit != piece.Blob.Unit)
                        {
                            bytes += Read(in piece, completion);
                        }

                        _patches.Add((_sources.Count - 1, piece.Source, at + piece.Start, piece.Length));
                        break;
                }
            }

            return _sources.Count - first;
        }

        /// <summary>Copies what was read to its place and gives the pages back.</summary>
        /// <param name="buffer">The buffer that was filled.</param>
        /// <param name="damaged">Gets the blocks of it that data with a wrong checksum went into; null if nobody asks.</param>
        /// <returns>True if everything matched its checksum.</returns>
        public bool Apply(Span<byte> buffer, HashSet<int>? damaged)
        {
            bool good = true;
            int next = 0;
            for (int i = 0; i < _sources.Count; i++)
            {
                DiskSource source = _sources[i];
                ReadOnlySpan<byte> stored = source.Page.Span[..source.Bytes];
                bool matches = source.Blob is null ? Crc32C.Compute(stored) == source.Checksum : store.TryUnpack(source.Blob, stored, out stored);
                good &= matches;
                for (; next < _patches.Count && _patches[next].Source == i; next++)
                {
                    (_, int from, int target, int length) = _patches[next];
                    if (matches)
                    {
                        stored.Slice(from, length).CopyTo(buffer[target..]);
                    }
                    else
                    {
                        buffer.Slice(target, length).Clear();
                        damaged?.Add(target / BlockSize);
                    }
                }

                source.Page.Release();
            }

            _sources.Clear();
            _patches.Clear();
            return good;
        }

        private int Read(in Piece piece, BlockCompletion completion)
        {
            uint unit = piece.Blob?.Unit ?? piece.Unit;
            int bytes = (piece.Blob?.Units ?? 1) * BlockSize;
            PageBuffer page = store._pool.Rent(bytes);
            page.Span[..bytes].Clear();
            _sources.Add(new DiskSource(page, bytes, piece.Blob, piece.Checksum));
            store._device.Read(store.UnitOffset(unit), page.Slice(0, bytes), completion);
            return bytes;
        }

        private readonly record struct DiskSource(PageBuffer Page, int Bytes, Blob? Blob, uint Checksum);
    }
}

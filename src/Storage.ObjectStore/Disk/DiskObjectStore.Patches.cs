using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// What overlay blocks are made of, brought together: parts in memory at once, parts on the disk after a read of their unit.
public sealed partial class DiskObjectStore
{
    /// <summary>Unit reads whose bytes complete blocks that are partly in memory.</summary>
    private sealed class DiskPatches(DiskObjectStore store)
    {
        private readonly List<(PageBuffer Page, uint Checksum, int Source, int Target, int Length)> _patches = [];

        /// <summary>Fills a block with what is in memory and starts reads for the rest.</summary>
        /// <param name="overlay">The block.</param>
        /// <param name="buffer">Where it goes.</param>
        /// <param name="at">The block's first byte there.</param>
        /// <param name="completion">Called once per read started, with 4096 or an error.</param>
        /// <returns>How many reads were started; counted before the first can complete.</returns>
        public int Fill(OverlayBlock overlay, Span<byte> buffer, int at, BlockCompletion completion)
        {
            int first = _patches.Count;
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
                        PageBuffer page = store._pool.Rent(BlockSize);
                        page.Span[..BlockSize].Clear();
                        _patches.Add((page, piece.Checksum, piece.Source, at + piece.Start, piece.Length));
                        store._device.Read(store.UnitOffset(piece.Unit), page.Slice(0, BlockSize), completion);
                        break;
                }
            }

            return _patches.Count - first;
        }

        /// <summary>Copies what was read to its place and gives the pages back.</summary>
        /// <param name="buffer">The buffer that was filled.</param>
        /// <param name="damaged">Gets the blocks of it that a unit with a wrong checksum went into; null if nobody asks.</param>
        /// <returns>True if every unit matched its checksum.</returns>
        public bool Apply(Span<byte> buffer, HashSet<int>? damaged)
        {
            bool good = true;
            foreach ((PageBuffer page, uint checksum, int source, int target, int length) in _patches)
            {
                if (Crc32C.Compute(page.Span[..BlockSize]) != checksum)
                {
                    good = false;
                    damaged?.Add(target / BlockSize);
                }

                page.Span.Slice(source, length).CopyTo(buffer[target..]);
                page.Release();
            }

            _patches.Clear();
            return good;
        }
    }
}

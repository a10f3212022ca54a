using System.Runtime.InteropServices;
using Storage.Cluster;

namespace Storage.ObjectStore.Compression;

/// <summary>Compresses and decompresses, with the working memory that takes. For one thread; makes what it needs at first use.</summary>
internal sealed unsafe class Packer : IDisposable
{
    private nint _compressor;
    private nint _decompressor;
    private byte[]? _whole;

    /// <summary>Whether the algorithm's library is on this machine.</summary>
    public static bool IsAvailable(PoolCompression algorithm) =>
        algorithm == PoolCompression.None || NativeLibrary.TryLoad(LibraryOf(algorithm), typeof(Packer).Assembly, null, out _);

    /// <summary>Name of the algorithm's library.</summary>
    public static string LibraryOf(PoolCompression algorithm) =>
        algorithm == PoolCompression.Lz4 ? CompressionNative.Lz4Library : CompressionNative.ZstdLibrary;

    /// <summary>Compresses; the level is Zstandard's.</summary>
    /// <returns>Bytes written to the target; 0 if they do not fit there.</returns>
    public int Pack(PoolCompression algorithm, int level, ReadOnlySpan<byte> source, Span<byte> target)
    {
        fixed (byte* from = source, to = target)
        {
            if (algorithm == PoolCompression.Lz4)
            {
                return Math.Max(0, CompressionNative.Lz4Compress(from, to, source.Length, target.Length));
            }

            if (_compressor == 0)
            {
                _compressor = CompressionNative.ZstdCreateCompressor();
            }

            nuint result = CompressionNative.ZstdCompress(_compressor, to, (nuint)target.Length, from, (nuint)source.Length, level);
            return CompressionNative.ZstdIsError(result) != 0 ? 0 : (int)result;
        }
    }

    /// <summary>Decompresses.</summary>
    /// <returns>False if the input is malformed or makes another number of bytes than the target has.</returns>
    public bool Unpack(PoolCompression algorithm, ReadOnlySpan<byte> source, Span<byte> target)
    {
        fixed (byte* from = source, to = target)
        {
            if (algorithm == PoolCompression.Lz4)
            {
                return CompressionNative.Lz4Decompress(from, to, source.Length, target.Length) == target.Length;
            }

            if (_decompressor == 0)
            {
                _decompressor = CompressionNative.ZstdCreateDecompressor();
            }

            return CompressionNative.ZstdDecompress(_decompressor, to, (nuint)target.Length, from, (nuint)source.Length) == (nuint)target.Length;
        }
    }

    /// <summary>Decompresses a part of what there is.</summary>
    /// <param name="algorithm">The algorithm.</param>
    /// <param name="source">The compressed form.</param>
    /// <param name="length">Bytes of the plain form, 64 KiB at most.</param>
    /// <param name="from">The first byte wanted.</param>
    /// <param name="target">Filled from there.</param>
    /// <returns>False if the input is malformed or makes another number of bytes.</returns>
    public bool UnpackPart(PoolCompression algorithm, ReadOnlySpan<byte> source, int length, int from, Span<byte> target)
    {
        if (target.Length == length)
        {
            return Unpack(algorithm, source, target);
        }

        _whole ??= new byte[Disk.Blob.MostBlocks * StoreLimits.BlockSize];
        if (!Unpack(algorithm, source, _whole.AsSpan(0, length)))
        {
            return false;
        }

        _whole.AsSpan(from, target.Length).CopyTo(target);
        return true;
    }

    public void Dispose()
    {
        if (_compressor != 0)
        {
            _ = CompressionNative.ZstdFreeCompressor(_compressor);
            _compressor = 0;
        }

        if (_decompressor != 0)
        {
            _ = CompressionNative.ZstdFreeDecompressor(_decompressor);
            _decompressor = 0;
        }
    }
}

using System.Runtime.InteropServices;

namespace Storage.ObjectStore.Compression;

/// <summary>The part of Debian's liblz4 and libzstd that the store uses.</summary>
internal static unsafe partial class CompressionNative
{
    public const string Lz4Library = "liblz4.so.1";
    public const string ZstdLibrary = "libzstd.so.1";

    /// <summary>Bytes written; 0 if they do not fit.</summary>
    [LibraryImport(Lz4Library, EntryPoint = "LZ4_compress_default")]
    public static partial int Lz4Compress(byte* source, byte* target, int length, int capacity);

    /// <summary>Bytes written; negative if the input is malformed or does not fit.</summary>
    [LibraryImport(Lz4Library, EntryPoint = "LZ4_decompress_safe")]
    public static partial int Lz4Decompress(byte* source, byte* target, int length, int capacity);

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_createCCtx")]
    public static partial nint ZstdCreateCompressor();

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_freeCCtx")]
    public static partial nuint ZstdFreeCompressor(nint context);

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_createDCtx")]
    public static partial nint ZstdCreateDecompressor();

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_freeDCtx")]
    public static partial nuint ZstdFreeDecompressor(nint context);

    /// <summary>Bytes written, or what <see cref="ZstdIsError"/> knows as an error, such as too little room.</summary>
    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_compressCCtx")]
    public static partial nuint ZstdCompress(nint context, byte* target, nuint capacity, byte* source, nuint length, int level);

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_decompressDCtx")]
    public static partial nuint ZstdDecompress(nint context, byte* target, nuint capacity, byte* source, nuint length);

    [LibraryImport(ZstdLibrary, EntryPoint = "ZSTD_isError")]
    public static partial uint ZstdIsError(nuint result);
}

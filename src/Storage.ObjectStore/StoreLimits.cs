namespace Storage.ObjectStore;

/// <summary>Limits that every store keeps.</summary>
public static class StoreLimits
{
    /// <summary>Unit of checksums, of space and of holes, in bytes.</summary>
    public const int BlockSize = 4096;

    /// <summary>The longest an object can be, in bytes.</summary>
    public const long LargestObject = 64L << 30;

    /// <summary>The most bytes a transaction may carry in small writes (those below the direct-write size, and unaligned ends).</summary>
    public const int LargestInlineData = 8 << 20;

    /// <summary>The longest record of a collection's log, in bytes.</summary>
    public const int LargestLogRecord = 4 << 20;
}

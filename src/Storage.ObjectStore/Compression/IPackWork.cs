namespace Storage.ObjectStore.Compression;

/// <summary>Something to compress or decompress.</summary>
internal interface IPackWork
{
    /// <summary>Does it, or what is left of it. On a thread of <see cref="PackThreads"/>, perhaps on several at a time.</summary>
    /// <param name="packer">The thread's own.</param>
    void Run(Packer packer);
}

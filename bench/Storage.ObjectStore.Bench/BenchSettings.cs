using System.Globalization;
using Storage.Cluster;

namespace Storage.ObjectStore.Bench;

/// <summary>What to measure, and how much of it.</summary>
internal sealed record BenchSettings
{
    public string Folder { get; init; } = string.Empty;

    /// <summary>Bytes of the block file.</summary>
    public long Size { get; init; } = 4L << 30;

    /// <summary>Bytes that the random loads touch.</summary>
    public long WorkingSet { get; init; } = 1L << 30;

    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Of the mixed load, which is to fill the memory target.</summary>
    public TimeSpan MixedDuration { get; init; } = TimeSpan.FromSeconds(60);

    public int SmallObjects { get; init; } = 100_000;

    /// <summary>Memory target of the process.</summary>
    public long Memory { get; init; } = 1L << 30;

    public Disk.WriteBackPlace Place { get; init; }

    /// <summary>Large writes are compressed so, and are of data that halves.</summary>
    public PoolCompression Compression { get; init; }

    public HashSet<string> Only { get; init; } = [];

    public bool Fio { get; init; } = true;

    public bool Wants(string part) => Only.Count == 0 || Only.Contains(part);

    public static long ParseBytes(string text)
    {
        (string suffix, int shift)[] units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        foreach ((string suffix, int shift) in units)
        {
            if (text.EndsWith(suffix, StringComparison.Ordinal))
            {
                return long.Parse(text[..^suffix.Length], CultureInfo.InvariantCulture) << shift;
            }
        }

        return long.Parse(text, CultureInfo.InvariantCulture);
    }
}
